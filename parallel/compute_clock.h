// How long a rank itself works on a step: what its queue takes from the step's beginning to its end, without what it
// stands in collectives, where a faster rank waits for a slower one. On the host a collective is its whole call; on a
// device it is what the compute queue waits for, between two events, so that an exchange that work hides costs nothing.
// While no step is measured it costs nothing either.
#pragma once

#include <deque>
#include <memory>
#include <vector>

#include "kernels/backend.h"
#include "parallel/mesh.h"

namespace retain {

class ComputeClock {
 public:
  /// The backend outlives it, and it the groups.
  explicit ComputeClock(Backend& backend) : backend_(backend) {}

  /// What makes the groups that `make` makes, with their waits measured.
  MakeTensorGroup watching(MakeTensorGroup make);

  /// Around what is queued for a step. Up to two steps may be waited for.
  void begin_step();
  void end_step();
  /// Of a step, in milliseconds.
  struct Times {
    double own_ms = 0;  ///< that the rank itself worked
    double all_ms = 0;  ///< with what it stood in collectives
  };
  /// Of the oldest step that was measured and not asked for. Waits until the queue has passed its end.
  Times take_times();

  // ---- for its groups ----
  bool measures() const { return measures_; }
  bool host_waits() const { return !backend_.runs_ahead(); }
  void begin_wait();
  void end_wait();

 private:
  using Timer = std::unique_ptr<DeviceTimer>;
  struct Step {
    Timer whole;
    std::vector<Timer> waits;
  };
  Timer take_timer();

  Backend& backend_;
  std::deque<Step> steps_;    ///< the oldest first
  std::vector<Timer> spare_;  ///< to be used again
  bool measures_ = false;     ///< the last of the steps is being queued
};

}  // namespace retain
