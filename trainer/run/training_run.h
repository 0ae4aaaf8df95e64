// A run from its start or its newest checkpoint to its end: steps, metrics, validation, checkpoints, and stopping when
// asked. What one step does is in step.cpp.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "kernels/energy_meter.h"
#include "parallel/compute_clock.h"
#include "trainer/checkpoint/trainer_state.h"
#include "trainer/checkpoint/writer.h"
#include "trainer/inference/evaluate.h"
#include "trainer/numerics/guard.h"
#include "trainer/run/log.h"
#include "trainer/run/metrics.h"
#include "trainer/run/progress_bar.h"
#include "trainer/run/resume.h"
#include "trainer/run/run_directory.h"
#include "trainer/run/run_summary.h"
#include "trainer/run/slow_ranks.h"
#include "trainer/run/start_clock.h"
#include "trainer/run/step_costs.h"
#include "trainer/run/time_limit.h"
#include "trainer/trainer.h"

namespace retain {

/// How a run begins.
struct RunStart {
  /// "auto" (the newest checkpoint, if any), "never", or a checkpoint's path: where this run went on from there before,
  /// it goes on from its own newest.
  std::string resume = "auto";
  std::string init_from = {};  ///< "", or where the weights of a new run come from: a checkpoint or a run
  std::vector<std::string> allow_changed = {};  ///< keys that may differ from the checkpoint's
  std::optional<TimeLimit> limit = {};          ///< of this start; rank 0's alone counts
  StartClock clock = StartClock();              ///< how long the start took so far
  bool bar = true;                              ///< on a terminal
};

/// Steps [first, last] that a waiting profiler records (1-based, as the step lines count); none when last is 0.
struct ProfiledSteps {
  int64_t first = 0, last = 0;
};

enum class RunOutcome : uint8_t { kFinished, kStopped };
/// The exit code of a run that was asked to stop.
inline constexpr int kStoppedOnRequest = 75;

/// Of what is done every so many steps (0: never): is step `step` one of them?
inline bool is_due(int64_t every, int64_t step) { return every > 0 && step % every == 0; }

class TrainingRun {
 public:
  /// Builds everything that a run needs. The log is of the run's directory. The lock is rank 0's (null elsewhere). The
  /// clock watches the mesh's groups; without one no rank is looked at for being slow. The meter is of this rank's GPU,
  /// if that has one. Collective.
  TrainingRun(Backend& backend, Mesh& mesh, Log& log, const Config& config, const Target& target,
              const RunIdentity& identity, const RunStart& start, const RunLock* lock, ComputeClock* clock = nullptr,
              EnergyMeter* energy = nullptr);

  /// Finds what RunStart says and goes on from there. Throws Error(kData) when there are checkpoints, or were, and none
  /// can be used, or when the one to continue is of another model or other data. Where nothing is left to train, says
  /// so and writes nothing. Collective.
  void begin();
  /// Trains to the end, after begin(). Collective. `poll_wishes` is called before each step, from the second on while
  /// the one before is computed, and in between where that takes long: in an evaluation, after a save. A wish is
  /// granted after that step; one for the end before the first step, or in a save, without another one. An evaluation
  /// that it ends is made up for by the next start. Where numerics.max_skips updates in a row were skipped it goes back
  /// to a checkpoint and on with other data. Throws Error(kDiverged) when that does not help, Error(kData) when a
  /// device computes other bits than it did or than another one, Error(kCannotCreate) when another job took the run
  /// over, Error(kDevice) when the device fails, under a save too, and the error of a save (Error(kIo) when the disk is
  /// full) that the run cannot end without or that checkpoint.on_error ends it for.
  RunOutcome run(const std::function<Wishes()>& poll_wishes, const ProfiledSteps& profiled = {});

  int64_t step() const { return step_; }  ///< finished updates
  /// Nothing is left to train, or to validate.
  bool finished() const { return step_ >= steps() && !validation_due_; }
  /// What this start came to so far. Any rank.
  RunSummary summary() const;
  /// After begin(): the step until which the run had the values that it had before this start. Rank 0's.
  int64_t older_values_held_until() const { return older_values_held_until_; }
  const std::string& tokenizer_fingerprint() { return trainer_.loader().tokenizer()->fingerprint; }

 private:
  /// So long is waited for reports that a sick disk does not take.
  static constexpr std::chrono::seconds kPatienceWithReports{10};

  /// Why the run cannot go on from where it is, after which step, and where it may go back to, the newest first.
  struct Trouble {
    NumbersVerdict verdict;
    int64_t step = 0;
    std::vector<std::string> checkpoints;
  };

  /// Where the run goes on from, if anywhere; its state is loaded. Collective.
  std::optional<Checkpoint> open_checkpoint();
  /// What was loaded of it is what was saved, or an error says what is not. Collective.
  void compare_digest(const Checkpoint& checkpoint, LoadedPart part);
  /// Did this run go on from the checkpoint that is to be resumed before? Sets resumed_from_. Collective.
  bool resumes_again();
  /// The same, on rank 0. Throws Error(kData) where this run had checkpoints of its own and none can be read, unless
  /// `path` is of this run itself, which is told to go back.
  bool went_on_from(const std::string& path);
  void set_origin(const RunState& saved);
  /// Warns of the first save to come that the disk will not hold beside what is kept then. Throws Error(kIo) when that
  /// is the next one. Collective.
  void check_disk();
  /// Why nothing is left to train, and what would make the run go on.
  void tell_finished();
  /// Newer steps than the origin are set aside: a run that goes on from an older step, or from the start, makes its own
  /// future.
  void set_newer_aside(bool resumed);
  /// What changed since the checkpoint, as lines and events.
  void tell_changes(const RunState& saved);
  Progress progress(int64_t step) const { return advance(origin_, config_, step - origin_.steps); }
  /// Of the whole run, those of other batches before the checkpoint included.
  int64_t steps() const;
  void take_weights_from(const std::string& path);
  /// Queues the step that was prepared.
  void queue_step(const ProfiledSteps& profiled);
  /// Waits for the oldest step that was queued and reports what it came to; looks how the save in flight is doing.
  void end_step();
  bool validates_after(int64_t step) const;
  /// Whether something is to be done after this step that the next one must not have begun before.
  bool rests_after(int64_t step, const NextStep& next, const Wishes& wishes) const;
  /// Validates and saves after a step. Whether the run is over.
  bool rest(Wishes wishes, bool next_failed);
  /// What this rank is asked for, by somebody or by the clock.
  Wishes own_wishes();
  /// Is this rank asked to stop? A wish to save is kept for later.
  bool wishes_to_stop();
  /// Is any? Collective.
  bool stop_is_wished();
  /// Which ranks were asked, and by what; on rank 0. Collective.
  std::string describe_request();
  /// The run ends well, or on request. Collective.
  void close(bool stopped);
  bool is_measured(int64_t step) const;
  /// Of all ranks, after a step that was measured. Collective.
  std::vector<RankCosts> gather_costs();
  /// Which rank was the slowest; a warning of one that has been slow for long.
  SlowestRank find_slowest(const std::vector<RankCosts>& ranks);
  /// After a step of so many seconds.
  void measure(StepMetrics& metrics);
  void report(const StepResult& result, StepMetrics metrics);
  /// A step line, or one like it.
  void print(const std::string& line);
  /// What follows from the numbers of a step: words, or trouble_.
  void judge(const StepResult& result);
  void take_trouble(const NumbersVerdict& verdict);
  /// Leaves the steps that follow on trouble_ and goes back to a checkpoint before it, or throws Error(kDiverged).
  void go_back();
  /// The first of these checkpoints that is whole; it is loaded.
  std::optional<Checkpoint> reload(const std::vector<std::string>& paths);
  [[noreturn]] void end_diverged(const Trouble& trouble);
  /// How long the start took, by its parts, when the first step has ended.
  void report_start();
  /// What is taken of a GPU after the first step, beside what was planned.
  void report_memory();
  /// False where it was ended by a wish for the end of the run.
  bool validate();
  /// Compares the recurrent form on a set's first windows, and warns where it is another function.
  void check_recurrent(const std::string& set, const EvalWindows& windows, Scalars& values);
  /// `needed`: a failure that is known before this returns ends the run.
  void begin_save(bool needed);
  /// The run may not end well without the checkpoint of its last step, which was begun.
  void finish_last_save();
  /// Learns how the save in flight ended, if it has. `wait`: until it has. `needed`: a failure ends the run.
  void settle_save(bool wait, bool needed);
  /// What the backend learned by measuring is kept for each rank, so that a run that goes on computes the same bits.
  void load_tuning();
  void choose_tp_chunks();
  void store_tuning();
  /// A line of events.jsonl, about `step` if that is not the current one.
  void event(const std::string& kind, const std::map<std::string, std::string>& values,
             std::optional<int64_t> step = std::nullopt);

  Mesh& mesh_;
  Log& log_;
  const Config& config_;
  ProgressBar progress_;
  std::optional<ProgressBar::Work> work_;  ///< the start, then the training
  RunIdentity identity_;
  RunPlan plan_;
  RunDirectory directory_;
  Trainer trainer_;
  std::map<std::string, EvalWindows> validation_;
  std::optional<Metrics> metrics_;  ///< rank 0's, once it is known from where the run goes on
  std::string tuning_;              ///< as it is on disk
  int64_t times_learned_ = 0;       ///< by the backend until then
  HostState host_state_;
  CheckpointWriter writer_;
  const RunLock* lock_;
  ComputeClock* clock_;
  EnergyMeter* energy_;
  double joules_ = 0;  ///< this rank's GPU, in this start
  /// When the step before was measured.
  struct {
    double step_seconds = 0;  ///< of the steps since then
    int64_t steps = 0;        ///< likewise
    double data_seconds = 0;  ///< that the loader had waited
  } measured_;
  SlowRanks slow_ranks_;
  RunStart start_;
  std::function<Wishes()> poll_wishes_;          ///< of run()
  std::string own_reason_;                       ///< of the newest wish of this rank
  bool save_is_wished_ = false;                  ///< by this rank, and not known to the others yet
  std::optional<WallTimeGuard> wall_time_;       ///< rank 0's
  std::string resumed_from_;                     ///< RunState::resumed_from
  Progress origin_;                              ///< where this life of the run began
  int64_t step_ = 0;                             ///< finished updates
  int64_t queued_ = 0;                           ///< those that the device was given
  std::optional<LongWork> first_steps_;          ///< measures, loads libraries, until the first has ended
  std::optional<ProgressBar::Work> first_work_;  ///< the same
  NumericsGuard guard_;
  std::optional<Trouble> trouble_;
  std::chrono::steady_clock::time_point step_begin_;  ///< of the oldest that is not finished
  int64_t older_values_held_until_ = 0;               ///< a step
  int64_t saved_step_ = -1;                           ///< of the newest save begun, or resumed from
  double stall_seconds_ = 0;     ///< of the host alone, which queued no step because of the newest save
  double valid_loss_;            ///< after this step, the mean of all sets; NaN when it was not validated
  bool validation_due_ = false;  ///< after this step, and not done
  std::chrono::steady_clock::time_point began_ = {};   ///< run()
  int64_t trained_ = 0;                                ///< steps, by this start
  std::optional<RunSummary::Best> best_, best_valid_;  ///< of this start
  std::string newest_checkpoint_;                      ///< its path
};

}  // namespace retain
