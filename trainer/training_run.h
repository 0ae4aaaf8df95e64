// A run from its start or its newest checkpoint to its end: steps, metrics, validation, checkpoints, and stopping when
// asked. What one step does is in step.cpp.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "parallel/log.h"
#include "trainer/checkpoint/trainer_state.h"
#include "trainer/checkpoint/writer.h"
#include "trainer/evaluate.h"
#include "trainer/metrics.h"
#include "trainer/run_directory.h"
#include "trainer/trainer.h"

namespace retain {

/// What the launcher knows about a run and its checkpoints keep.
struct RunIdentity {
  std::string resolved_config;                ///< YAML that retain reads again
  std::map<std::string, std::string> values;  ///< what must not change when the run goes on: "model.layers" -> "4"
  std::string build;                          ///< program version and compiler
};

enum class RunOutcome : uint8_t { kFinished, kStopped };

class TrainingRun {
 public:
  /// `resume`: "auto" (the newest checkpoint, if any), "never", or the path of a checkpoint. The lock is rank 0's (null
  /// elsewhere). Collective.
  TrainingRun(Backend& backend, Mesh& mesh, Log& log, const Config& config, const Target& target, const RunIdentity& identity,
              const std::string& resume, const RunLock* lock);

  /// Collective. Throws Error(kDiverged) after ten updates in a row whose gradient was not finite.
  RunOutcome run(const std::function<Wishes()>& poll_wishes);

 private:
  void resume_from(const std::string& resume);
  void report(const StepResult& result, double seconds);
  void validate();
  void begin_save();
  void settle_save(bool wait);
  void event(const std::string& kind, const std::map<std::string, std::string>& values);

  Mesh& mesh_;
  Log& log_;
  const Config& config_;
  RunIdentity identity_;
  RunPlan plan_;
  RunDirectory directory_;
  Trainer trainer_;
  std::map<std::string, EvalWindows> validation_;
  Metrics metrics_;
  HostState host_state_;
  CheckpointWriter writer_;
  int64_t step_ = 0;         ///< finished updates
  int64_t saved_step_ = -1;  ///< of the newest save begun, or resumed from
  double valid_loss_;        ///< of the newest validation; NaN before
};

}  // namespace retain
