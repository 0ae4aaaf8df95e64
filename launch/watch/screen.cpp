#include "launch/watch/screen.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <ctime>
#include <limits>

#include "kernels/core/error.h"
#include "launch/watch/chart.h"
#include "trainer/run/short_text.h"

namespace retain {

namespace {

using Points = std::vector<HistoryPoint>;

constexpr int64_t kNewestSteps = 200;   // whose pace is the run's
constexpr double kSilentSeconds = 120;  // without a line, and ten steps
constexpr int kNameColumns = 18, kValueColumns = 11;

/// Code points, each of which fills a column in what is drawn here.
int width_of(const std::string& text) {
  return static_cast<int>(std::ranges::count_if(text, [](char c) { return (c & 0xc0) != 0x80; }));
}

std::string cut(const std::string& text, int columns) {
  int seen = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if ((text[i] & 0xc0) != 0x80 && seen++ == columns) return text.substr(0, i);
  }
  return text;
}

std::string padded(const std::string& text, int columns) {
  return text + std::string(static_cast<size_t>(std::max(0, columns - width_of(text))), ' ');
}

std::vector<double> values_of(const Points& points) {
  std::vector<double> values;
  for (const HistoryPoint& point : points) values.push_back(point.value);
  return values;
}

std::string clock_time(double unix_seconds) {
  const auto seconds = static_cast<std::time_t>(unix_seconds);
  std::tm local{};
  localtime_r(&seconds, &local);
  return fmt::format("{:02}:{:02}:{:02}", local.tm_hour, local.tm_min, local.tm_sec);
}

std::string value_text(const std::string& name, double value) {
  if (name.ends_with("_bytes")) return short_bytes(value);
  if (name == "lr") return fmt::format("{:.2e}", value);
  if (name == "tokens_per_second") return short_number(value);
  if (name == "mfu" || name.ends_with("_share")) return fmt::format("{:.1f} %", 100 * value);
  if (name == "step_seconds") return value < 1 ? fmt::format("{:.1f} ms", 1e3 * value) : fmt::format("{:.2f} s", value);
  return fmt::format("{:.4g}", value);
}

std::string event_text(const HistoryEvent& event) {
  std::string text = fmt::format("{} step {} {}", clock_time(event.time), event.step, event.kind);
  const auto value = [&](const char* name) {
    const auto found = event.values.find(name);
    return found == event.values.end() ? std::string() : found->second;
  };
  if (event.kind == "checkpoint")
    text += fmt::format(" of {} in {:.1f} s", short_bytes(std::strtod(value("bytes").c_str(), nullptr)),
                        std::strtod(value("seconds").c_str(), nullptr));
  for (const char* const name : {"reason", "place", "mesh", "from"}) {
    if (const std::string found = value(name); !found.empty()) text += ": " + found;
  }
  return text;
}

/// The screen as it fills.
class Page {
 public:
  explicit Page(const ScreenOptions& options) : options_(options) {}

  int left() const { return options_.rows - static_cast<int>(lines_.size()); }
  const ScreenOptions& options() const { return options_; }
  void add(const std::string& line, const char* colour = nullptr) {
    if (left() <= 0) return;
    const std::string shown = cut(line, options_.columns);
    lines_.push_back(colour && options_.colours ? concat("\x1b[", colour, "m", shown, "\x1b[0m") : shown);
  }
  std::vector<std::string> take() { return std::move(lines_); }

 private:
  ScreenOptions options_;
  std::vector<std::string> lines_;
};

const char* colour_of(RunCondition::Mood mood) {
  return mood == RunCondition::Mood::kBad ? "1;31" : mood == RunCondition::Mood::kDone ? "1;32" : "1";
}

void add_title(Page& page, const WatchedRun& run, double now) {
  const RunCondition condition = condition_of(run.history, now);
  const int columns = page.options().columns;
  std::string name = run.history.directory();
  const int room = std::max(20, columns - 2 - std::min(width_of(condition.text), columns / 2));
  if (width_of(name) > room) name = "..." + name.substr(name.size() - static_cast<size_t>(room - 3));
  page.add(name + "  " + condition.text, colour_of(condition.mood));
}

void add_progress(Page& page, const WatchedRun& run) {
  const Points& losses = run.history.series("loss");
  if (losses.empty()) return page.add("no step is done yet");
  const HistoryPoint& last = losses.back();
  std::string text = fmt::format("step {}", last.step);
  const double share = run.steps > 0 ? static_cast<double>(last.step) / static_cast<double>(run.steps) : 0;
  if (run.steps > 0) text += fmt::format("/{}  {:.1f} %", run.steps, 100 * share);
  text += fmt::format("  {} tokens", short_number(static_cast<double>(last.tokens)));
  if (const double left = seconds_left(run); left > 0) text += fmt::format("  {} left", short_duration(left));
  const int bar = page.options().columns - width_of(text) - 4;
  if (run.steps > 0 && bar >= 10) {
    const auto full = static_cast<size_t>(std::clamp(static_cast<int>(share * bar), 0, bar));
    text = concat('[', std::string(full, '#'), std::string(static_cast<size_t>(bar) - full, '-'), "]  ", text);
  }
  page.add(text);
}

/// A line: name, newest value, curve, and between what it moved.
void add_row(Page& page, const std::string& name, const Points& points) {
  const std::string value = value_text(name, points.back().value);
  const int columns = page.options().columns;
  const std::vector<double> values = values_of(points);
  double least = std::numeric_limits<double>::infinity(), greatest = -least;
  for (const double each : values) {
    if (!std::isfinite(each)) continue;
    least = std::min(least, each);
    greatest = std::max(greatest, each);
  }
  const std::string range =
      least < greatest ? value_text(name, least) + " to " + value_text(name, greatest) : std::string();
  const int curve = columns - kNameColumns - kValueColumns - 2 - (columns >= 70 ? 26 : 0);
  std::string line = padded(cut(name, kNameColumns - 1), kNameColumns) + padded(value, kValueColumns);
  if (curve >= 8 && !range.empty()) {
    line += padded(draw_columns(bin_means(values, curve), 1, page.options().ascii).front(), curve + 2);
    if (columns >= 70) line += range;
  }
  page.add(line);
}

/// The loss in some lines, with its scale on the left.
void add_loss(Page& page, const Points& losses, int rows) {
  constexpr int kScale = 10;
  const std::vector<double> shown = bin_means(values_of(losses), page.options().columns - kScale);
  const auto [least, greatest] = std::ranges::minmax(shown);
  const std::vector<std::string> lines = draw_columns(shown, rows, page.options().ascii);
  for (int row = 0; row < rows; ++row) {
    const std::string scale = row == 0          ? fmt::format("{:.4g}", greatest)
                              : row == rows - 1 ? fmt::format("{:.4g}", least)
                                                : "";
    page.add(padded(row == rows / 2 ? "loss" : scale, kScale) + lines[static_cast<size_t>(row)]);
  }
}

/// Names in the order in which people look for them.
std::vector<std::string> rows_of(const RunHistory& history) {
  std::vector<std::string> names;
  const auto add = [&](const std::string& name) {
    if (!history.series(name).empty()) names.push_back(name);
  };
  add("loss");
  for (const auto& [name, points] : history.series()) {
    if (name.starts_with("valid/") && name.ends_with("/loss")) names.push_back(name);
  }
  for (const char* const name : {"tokens_per_second", "mfu", "step_seconds", "grad_norm", "lr", "data_share",
                                 "exchange_share", "watts", "millijoules_per_token", "memory_bytes"})
    add(name);
  return names;
}

void add_slowest(Page& page, const RunHistory& history) {
  const Points &rank = history.series("slowest_rank"), &ratio = history.series("slowest_ratio");
  if (rank.empty() || ratio.empty()) return;
  page.add(padded("slowest rank", kNameColumns) +
           fmt::format("{:.0f}, {:.2f} times the median", rank.back().value, ratio.back().value));
}

void add_events(Page& page, const RunHistory& history) {
  const auto& events = history.events();
  const auto shown = std::min<int64_t>(page.left() - 1, std::ssize(events));
  if (shown <= 0) return;
  page.add("last events", "1");
  for (auto event = events.end() - shown; event != events.end(); ++event) page.add("  " + event_text(*event));
}

void draw_one(Page& page, const WatchedRun& run, double now) {
  add_title(page, run, now);
  add_progress(page, run);
  const RunHistory& history = run.history;
  const std::vector<std::string> names = rows_of(history);
  if (names.empty()) return add_events(page, history);
  const int spare = page.left() - static_cast<int>(names.size()) - 6;
  if (spare >= 4) {
    page.add("");
    add_loss(page, history.series("loss"), std::min(spare, std::max(4, page.options().rows / 3)));
    page.add("");
  }
  for (const std::string& name : names) add_row(page, name, history.series(name));
  add_slowest(page, history);
  if (page.left() > 3) page.add("");
  add_events(page, history);
}

}  // namespace

RunCondition condition_of(const RunHistory& history, double now) {
  using enum RunCondition::Mood;
  const Points& losses = history.series("loss");
  if (!history.events().empty()) {
    const HistoryEvent& last = history.events().back();
    const auto value = [&](const char* name) {
      const auto found = last.values.find(name);
      return found == last.values.end() ? std::string() : found->second;
    };
    if (last.kind == "done") return {"finished", kDone};
    if (last.kind == "stop") return {"stopped: " + value("reason"), kDone};
    if (last.kind == "error") return {concat("failed with exit code ", value("code"), ": ", value("reason")), kBad};
  }
  double newest = history.events().empty() ? 0 : history.events().back().time, step = 0;
  if (!losses.empty()) newest = std::max(newest, losses.back().time);
  if (const Points& seconds = history.series("step_seconds"); !seconds.empty()) step = seconds.back().value;
  const double silence = now - newest;
  if (silence > std::max(kSilentSeconds, 10 * step))
    return {"silent for " + short_duration(silence) + ": ended without a word, or hangs", kBad};
  return {losses.empty() ? "starting" : "running", kGoing};
}

double seconds_left(const WatchedRun& run) {
  const Points& losses = run.history.series("loss");
  if (losses.empty() || run.steps <= 0) return -1;
  const HistoryPoint& last = losses.back();
  auto first = losses.end() - 1;
  while (first != losses.begin() && (first - 1)->start == last.start && losses.end() - first <= kNewestSteps) --first;
  if (first->step >= last.step) return -1;
  const double pace = (last.time - first->time) / static_cast<double>(last.step - first->step);
  return pace * static_cast<double>(run.steps - last.step);
}

std::vector<std::string> draw_screen(const std::vector<WatchedRun>& runs, double now, const ScreenOptions& options) {
  Page page(options);
  if (runs.size() == 1) {
    draw_one(page, runs.front(), now);
    return page.take();
  }
  for (const WatchedRun& run : runs) {
    add_title(page, run, now);
    add_progress(page, run);
    const std::vector<std::string> names = rows_of(run.history);
    const auto rows = std::clamp<int64_t>(options.rows / std::ssize(runs) - 3, 1, std::ssize(names));
    for (int64_t i = 0; i < rows && i < std::ssize(names); ++i)
      add_row(page, names[static_cast<size_t>(i)], run.history.series(names[static_cast<size_t>(i)]));
    page.add("");
  }
  return page.take();
}

}  // namespace retain
