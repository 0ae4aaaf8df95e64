// How long nothing may happen: learned from what a run does, or configured. Knows no clock: whoever watches says how
// much time has passed.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <optional>

#include "kernels/core/activity.h"

namespace retain {

class HangLimit {
 public:
  using Milliseconds = std::chrono::milliseconds;

  /// Without a number of its own it is five times the longest gap between two signs of progress, at least 10 s and at
  /// most 60 s, or twice the gap where that is more.
  explicit HangLimit(std::optional<Milliseconds> configured = std::nullopt) : configured_(configured) {}

  void saw_gap(Milliseconds gap) { longest_gap_ = std::max(longest_gap_, gap); }
  Milliseconds usual() const;    ///< T
  Milliseconds patient() const;  ///< for LongWork: ten minutes, or ten times T where that is configured or more
  Milliseconds of(bool patient) const { return patient ? this->patient() : usual(); }

 private:
  std::optional<Milliseconds> configured_;
  Milliseconds longest_gap_{0};
};

/// How long an activity has given no sign of progress.
class ProgressClock {
 public:
  /// `passed` since the last look, while the process ran. A gap that ends is told to the limit.
  void look(const Activity::View& view, HangLimit::Milliseconds passed, HangLimit& limit);
  void restart() { idle_ = HangLimit::Milliseconds{0}; }
  HangLimit::Milliseconds idle() const { return idle_; }

 private:
  int64_t signs_ = -1;
  bool patient_ = false;
  HangLimit::Milliseconds idle_{0};
};

}  // namespace retain
