#include "trainer/run/time_limit.h"

#include <fmt/core.h>

#include <algorithm>

namespace retain {

namespace {

// For what is not measured: a file system that is slower this time, the end of the process, the scheduler's own haste.
constexpr double kMarginSeconds = 10, kMarginOfMeasured = 0.5;
// Of the longest that was seen, after each one that was shorter: one hiccup in a day stops no run an hour early.
constexpr double kFading = 0.98;

}  // namespace

void WallTimeGuard::step_took(double seconds) { step_seconds_ = std::max(seconds, kFading * step_seconds_); }

void WallTimeGuard::save_took(double seconds) {
  save_seconds_ = measured_ ? std::max(seconds, kFading * save_seconds_) : seconds;
  measured_ = true;
}

double WallTimeGuard::needed_seconds(bool save_in_flight) const {
  const double measured = step_seconds_ + (save_in_flight ? 2 : 1) * save_seconds_;
  return (1 + kMarginOfMeasured) * measured + kMarginSeconds;
}

std::string WallTimeGuard::describe(Clock::time_point now) const {
  return fmt::format(
      "{:.0f} s are left by {}; a step takes {:.2f} s, a save {}{:.2f} s; the run saves and ends when {:.0f} s "
      "are left",
      left(now), limit_.source, step_seconds_, measured_ ? "" : "perhaps ", save_seconds_, needed_seconds(false));
}

}  // namespace retain
