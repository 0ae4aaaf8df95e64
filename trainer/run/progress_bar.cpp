#include "trainer/run/progress_bar.h"

#include <fmt/core.h>

#include <algorithm>
#include <system_error>

#include "kernels/core/text.h"
#include "parallel/health/stacks.h"
#include "trainer/run/short_text.h"

namespace retain {

namespace {

constexpr std::chrono::milliseconds kBetweenBars{200};
constexpr std::chrono::milliseconds kMoment{500};  // what takes less is not worth a bar of its own
constexpr size_t kNewest = 200;                    // whose pace is the work's
constexpr int kWidestBar = 30, kNarrowestBar = 5;

double seconds_between(ProgressBar::Clock::time_point begin, ProgressBar::Clock::time_point end) {
  return std::chrono::duration<double>(end - begin).count();
}

/// "1.20GB", "45.6M", "1200"
std::string short_count(double count, const std::string& unit) {
  if (unit != "bytes" && unit != "tokens") return fmt::format("{:.0f}", count);
  std::string text = short_number(count);
  std::erase(text, ' ');
  return unit == "bytes" ? text + "B" : text;
}

}  // namespace

double WorkState::seconds_left() const {
  return total > 0 && per_second > 0 ? static_cast<double>(std::max<int64_t>(total - done, 0)) / per_second : -1;
}

std::string bar_text(const WorkState& work, int columns) {
  const bool counted = work.done > 0 || work.total > 0;
  std::string text =
      counted ? short_count(static_cast<double>(work.done), work.unit) : compact_duration(work.unchanged_seconds);
  const double share = work.total > 0 ? static_cast<double>(work.done) / static_cast<double>(work.total) : 0;
  if (work.total > 0) text += concat("/", short_count(static_cast<double>(work.total), work.unit));
  if (counted && work.unit == "tokens") text += " tokens";
  if (work.total > 0) text += fmt::format(" {:.1f}%", 100 * share);
  if (!work.more.empty()) text += concat(" ", work.more);
  if (work.per_second > 0 && work.unit != "step") {
    text += fmt::format(" {}{}/s", short_count(work.per_second, work.unit), work.unit == "tokens" ? " tok" : "");
  }
  if (const double left = work.seconds_left(); left >= 0) text += " eta " + compact_duration(left);
  const int room = columns - 1 - static_cast<int>(work.what.size() + text.size()) - 4;
  const int width = std::min(room, kWidestBar);
  if (work.total > 0 && width >= kNarrowestBar) {
    const int full = std::clamp(static_cast<int>(share * width), 0, width);
    text = fmt::format("[{}{}] {}", std::string(static_cast<size_t>(full), '#'),
                       std::string(static_cast<size_t>(width - full), '-'), text);
  }
  return concat(work.what, " ", text).substr(0, static_cast<size_t>(std::max(columns - 1, 0)));
}

std::string progress_line(const std::vector<WorkState>& works) {
  std::string line;
  for (const WorkState& work : works) {
    const bool innermost = &work == &works.back();
    if (innermost) line += fmt::format("{}doing={}", line.empty() ? "" : " ", as_word(work.what));
    if (work.done > 0 || work.total > 0) {
      line += fmt::format("{}{}={}", line.empty() ? "" : " ", work.unit, work.done);
      if (work.total > 0) line += fmt::format("/{}", work.total);
    }
    if (!innermost) continue;
    if (work.per_second > 0 && work.unit != "step") {
      line += fmt::format(" {}_per_second={:.0f}", work.unit, work.per_second);
    }
    if (const double left = work.seconds_left(); left >= 0) line += " eta=" + compact_duration(left);
    line += fmt::format(" unchanged_seconds={:.0f}", work.unchanged_seconds);
  }
  return line;
}

ProgressBar::Work::Work(ProgressBar& progress, WorkState state) : progress_(progress), state_(std::move(state)) {
  newest_.emplace_back(begun_, state_.done);
  const std::scoped_lock lock(progress_.mutex_);
  progress_.works_.push_back(this);
}

ProgressBar::Work::~Work() {
  const std::scoped_lock lock(progress_.mutex_);
  std::erase(progress_.works_, this);
}

void ProgressBar::Work::at(int64_t done, std::string more) {
  const std::scoped_lock lock(progress_.mutex_);
  state_.done = done;
  state_.more = std::move(more);
  newest_.emplace_back(Clock::now(), done);
  if (newest_.size() > kNewest) newest_.pop_front();
}

WorkState ProgressBar::Work::state() const {
  const std::scoped_lock lock(progress_.mutex_);
  return state_at(Clock::now());
}

WorkState ProgressBar::Work::state_at(Clock::time_point now) const {
  WorkState state = state_;
  const auto& [begin, before] = newest_.front();
  const auto& [end, done] = newest_.back();
  if (done > before && end > begin) state.per_second = static_cast<double>(done - before) / seconds_between(begin, end);
  state.unchanged_seconds = seconds_between(end, now);
  return state;
}

ProgressBar::ProgressBar(Log& log, ProgressBarOptions options) : log_(log), options_(std::move(options)) {
  if (!log_.is_first()) return;
  if (!options_.say) options_.say = [this](const std::string& line) { log_.info(line); };
  try {
    thread_ = std::thread([this] { show(); });
  } catch (const std::system_error&) {  // no thread to be had: nothing is shown
  }
}

ProgressBar::~ProgressBar() {
  {
    const std::scoped_lock lock(mutex_);
    closing_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void ProgressBar::spoke() {
  const std::scoped_lock lock(mutex_);
  spoke_ = Clock::now();
}

double ProgressBar::silent_seconds() const {
  const std::scoped_lock lock(mutex_);
  return seconds_between(spoke_, Clock::now());
}

WorkState ProgressBar::shown() const {
  const Clock::time_point now = Clock::now();
  const auto work = std::ranges::find_if(works_.rbegin(), works_.rend() - 1,
                                         [&](const Work* each) { return now - each->begun_ >= kMoment; });
  return (*work)->state_at(now);
}

std::vector<WorkState> ProgressBar::works() const {
  std::vector<WorkState> states;
  for (const Work* const work : works_) states.push_back(work->state_at(Clock::now()));
  return states;
}

void ProgressBar::show() {
  leave_signals_to_main_thread();
  const bool bar = options_.bar && log_.columns_at_bottom() > 0;
  std::unique_lock lock(mutex_);
  while (!closing_) {
    const Clock::time_point due = spoke_ + options_.silence;
    changed_.wait_until(lock, bar ? std::min(due, Clock::now() + kBetweenBars) : due);
    if (closing_) break;
    const std::vector<WorkState> now = works();
    const bool silent = Clock::now() >= spoke_ + options_.silence;
    if (silent) spoke_ = Clock::now();
    const int columns = bar ? log_.columns_at_bottom() : 0;
    const std::string text = columns > 0 && !now.empty() ? bar_text(shown(), columns) : "";
    lock.unlock();
    if (silent && !now.empty()) options_.say(progress_line(now));
    if (bar) log_.show_at_bottom(text);
    lock.lock();
  }
  lock.unlock();
  if (bar) log_.show_at_bottom("");
}

}  // namespace retain
