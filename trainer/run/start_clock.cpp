#include "trainer/run/start_clock.h"

#include <fmt/core.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <sstream>

namespace retain {

StartClock::StartClock(double seconds_ago)
    : last_(Clock::now() - std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds_ago))) {}

void StartClock::add(const std::string& name, double seconds) {
  const auto part = std::ranges::find(parts_, name, &std::pair<std::string, double>::first);
  if (part == parts_.end()) {
    parts_.emplace_back(name, seconds);
  } else {
    part->second += seconds;
  }
}

void StartClock::end_part(const std::string& name, Clock::time_point at) {
  add(name, std::chrono::duration<double>(at - last_).count());
  last_ = at;
  last_part_ = name;
}

void StartClock::move_last(double seconds, const std::string& name) {
  add(last_part_, -seconds);
  add(name, seconds);
}

double StartClock::seconds() const {
  double sum = 0;
  for (const auto& [name, seconds] : parts_) sum += seconds;
  return sum;
}

std::string StartClock::describe() const {
  std::string text = fmt::format("{:.2f} s", seconds());
  for (size_t i = 0; i < parts_.size(); ++i)
    text += fmt::format("{} {} {:.2f}", i == 0 ? ":" : ",", parts_[i].first, parts_[i].second);
  return text;
}

double process_seconds() {
  std::ifstream file("/proc/self/stat");
  std::string stat;
  std::getline(file, stat);
  // The program's name, which ends with the last parenthesis, may hold anything; behind it the beginning is field 20.
  const size_t name_end = stat.rfind(')');
  if (name_end == std::string::npos) return 0;
  std::istringstream fields(stat.substr(name_end + 1));
  std::string skipped;
  for (int field = 0; field < 19; ++field) fields >> skipped;
  double ticks = 0;
  timespec now{};
  if (!(fields >> ticks) || ::clock_gettime(CLOCK_BOOTTIME, &now) != 0) return 0;
  const double begin = ticks / static_cast<double>(::sysconf(_SC_CLK_TCK));
  return std::max(0.0, static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec) - begin);
}

}  // namespace retain
