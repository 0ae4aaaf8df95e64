// What a run makes of the numbers of its steps: which updates are not applied, when it goes back to a checkpoint, when
// it has diverged. Pure: it is told what every step came to, which all ranks know alike, and so decides alike on all of
// them.
#pragma once

#include <limits>
#include <optional>
#include <string>

#include "trainer/config.h"
#include "trainer/numerics/spikes.h"

namespace retain {

/// Beyond which an update is not applied. The device compares, before it applies it.
struct UpdateLimits {
  double loss = std::numeric_limits<double>::infinity();  ///< nats per predicted token
  double grad_norm = std::numeric_limits<double>::infinity();
};

/// The numbers of one step, the same on every rank.
struct StepNumbers {
  int64_t step = 0;  ///< finished updates, this one included
  double loss = 0, grad_norm = 0;
  bool skipped = false;  ///< nothing was updated, because of the numbers
};

/// What follows from the numbers of a step.
struct NumbersVerdict {
  std::string warning = {};  ///< one line, or nothing
  std::string event = {};    ///< its kind: "skip", "spike"
  /// Why the run is to go back to a checkpoint of step `last_good` or before; or nothing.
  std::string trouble = {};
  int64_t last_good = 0;
  bool diverged = false;  ///< and the run ends where it cannot
};

class NumericsGuard {
 public:
  explicit NumericsGuard(const NumericsConfig& config);

  /// Limits of the update after `finished` + `ahead`, ahead = 0 or 1, where `finished` was recorded last. They depend
  /// on the steps until two before that update, on every device: a device that runs ahead knows no more.
  UpdateLimits limits(int64_t ahead) const { return ahead == 0 ? next_ : after_next_; }

  NumbersVerdict record(const StepNumbers& numbers);
  /// A step without a prediction has no numbers.
  void record_nothing();

  /// Whether one more rollback is allowed after trouble at this step; it is counted.
  bool may_roll_back(int64_t step);
  /// A checkpoint of that step is there: what led to rollbacks before it is behind the run.
  void committed(int64_t step);

  int64_t skipped() const { return skipped_; }  ///< updates, of the whole run

  /// Everything that later decisions depend on, as a checkpoint keeps it; "" is that of a new run. Throws Error(kData).
  std::string to_text() const;
  void from_text(const std::string& text);
  /// What a checkpoint keeps is taken over but for the counts of what this run did since.
  void roll_back_to(const std::string& text);

 private:
  UpdateLimits known_limits() const;
  NumbersVerdict judge_skip(const StepNumbers& numbers);
  NumbersVerdict judge_spike(const StepNumbers& numbers);
  void advance_limits();

  NumericsConfig config_;
  SpikeWindow losses_, norms_;
  UpdateLimits next_, after_next_;
  int64_t skipped_ = 0, skipped_in_a_row_ = 0;
  int64_t rollbacks_ = 0, trouble_step_ = 0;  ///< without a later checkpoint since
  bool spiking_ = false;                      ///< the step before was a spike: it has been told of
};

}  // namespace retain
