// The wall-time guard: stops a run while there is still time to save it. Rank 0 alone has one; that it is time is its
// wish, which all ranks agree on like any other. By the monotonic clock.
#pragma once

#include <chrono>
#include <string>

namespace retain {

/// When a start of a run must be over, and who says so ("SLURM_JOB_END_TIME").
struct TimeLimit {
  std::chrono::steady_clock::time_point end;
  std::string source;
};

class WallTimeGuard {
 public:
  using Clock = std::chrono::steady_clock;
  /// `save_seconds` is a guess that holds until a save was measured.
  WallTimeGuard(TimeLimit limit, double save_seconds) : limit_(std::move(limit)), save_seconds_(save_seconds) {}

  /// What a step or a save took. A slow one counts less and less as others follow.
  void step_took(double seconds);
  void save_took(double seconds);

  /// Seconds that must be left: those of a step, of a save, of another one where one is in flight, and a margin.
  double needed_seconds(bool save_in_flight) const;
  /// "3600 s are left by SLURM_JOB_END_TIME; a step takes 1.2 s, a save 30.0 s (…)"
  std::string describe(Clock::time_point now) const;
  /// Is what is left less than what is needed?
  bool is_due(Clock::time_point now, bool save_in_flight) const { return left(now) < needed_seconds(save_in_flight); }

 private:
  double left(Clock::time_point now) const { return std::chrono::duration<double>(limit_.end - now).count(); }

  TimeLimit limit_;
  double step_seconds_ = 0, save_seconds_;
  bool measured_ = false;  ///< a save was
};

}  // namespace retain
