// After trouble with its numbers a run goes back to a checkpoint and past the data, or ends as diverged.
#include "trainer/run/training_run.h"

#include <sstream>
#include <string>
#include <utility>

namespace retain {

void TrainingRun::take_trouble(const NumbersVerdict& verdict) {
  settle_save(true, false);  // it may be where the run goes back to
  std::string paths;
  do_on_rank_0(mesh_.host(), [&] {
    for (const StepEntry& entry : list_steps(checkpoints_directory(directory_.path())))
      if (entry.step <= verdict.last_good) paths += entry.path.string() + '\n';
  });
  paths = broadcast_text(mesh_.host(), paths, 0);
  Trouble trouble{.verdict = verdict, .step = step_, .checkpoints = {}};
  std::istringstream lines(paths);
  for (std::string path; std::getline(lines, path);) trouble.checkpoints.push_back(path);
  const bool helps = !trouble.checkpoints.empty() && guard_.may_roll_back(step_);
  if (!helps && !verdict.diverged) {
    log_.warn("the run does not go back, and goes on: there is ", trouble.checkpoints.empty()
                                                                      ? "no checkpoint to go back to"
                                                                      : "no rollback left (numerics.max_rollbacks)");
    return;
  }
  if (!helps) trouble.checkpoints.clear();
  trouble_ = std::move(trouble);
}

void TrainingRun::go_back() {
  const LongWork goes(trainer_.backend().activity(), "going back to a checkpoint");
  const ProgressBar::Work shown(progress_, {.what = "going back"});
  for (; queued_ > step_; --queued_) {  // of a future that is given up
    trainer_.finish();
    if (clock_ && is_measured(queued_)) clock_->take_times();
  }
  trainer_.discard();
  const Trouble trouble = *std::exchange(trouble_, std::nullopt);
  const Progress present = progress(trouble.step);
  const std::optional<Checkpoint> checkpoint = reload(trouble.checkpoints);
  if (!checkpoint) end_diverged(trouble);
  newest_checkpoint_ = checkpoint->path().string();
  const RunState& saved = checkpoint->state();
  log_.warn(trouble.verdict.trouble, ": going back to step ", saved.step, "; the ",
            present.samples - progress(saved.step).samples, " sequences since then are not trained on again");
  event("rollback", {{"to", std::to_string(saved.step)}, {"reason", trouble.verdict.trouble}});
  origin_ = {.steps = saved.step, .tokens = saved.tokens, .samples = present.samples};
  step_ = queued_ = saved.step;
  guard_.roll_back_to(saved.numerics);
  do_on_rank_0(mesh_.host(), [&] { set_aside_newer(checkpoints_directory(directory_.path()), step_); });
  if (metrics_) metrics_->go_back(step_);
  valid_loss_ = saved.valid_loss;
  validation_due_ = saved.validation_due;
  saved_step_ = -1;
  begin_save(false);  // so that a start that follows skips the same data
  step_begin_ = std::chrono::steady_clock::now();
}

std::optional<Checkpoint> TrainingRun::reload(const std::vector<std::string>& paths) {
  trainer_.parameters().await_weights(0);
  StateLoad load(trainer_.parameters(), mesh_.at().tp, host_state_);
  const LoadTarget target = load.target([](const RunState&) {});
  std::optional<Checkpoint> checkpoint;
  for (size_t i = 0; i < paths.size() && !checkpoint; ++i) {
    const Outcome opened = attempt([&] {
      checkpoint = open_verified(
          mesh_.host(), paths[i], [this](const std::string& line) { log_.warn(line); }, &target);
    });
    if (!opened.ok && opened.kind != ErrorKind::kData) throw SharedError(opened.kind, opened.message);
    if (!opened.ok) log_.warn(paths[i], " is damaged and not used: ", opened.message);
  }
  if (!checkpoint) return checkpoint;
  load.finish(trainer_.backend(), trainer_.reducer());
  compare_digest(*checkpoint, LoadedPart::kAll);
  return checkpoint;
}

void TrainingRun::end_diverged(const Trouble& trouble) {
  const NextStep again = trainer_.prepare(progress(trouble.step - 1), {});
  const std::string found = again.failed ? "" : trainer_.find_bad_numbers();
  const std::string first = found.empty()
                                ? "computed once more, every number of that step is finite"
                                : "computed once more, the first number of that step that is not finite is in " + found;
  throw SharedError(ErrorKind::kDiverged,
                    concat(trouble.verdict.trouble, "; ", first,
                           "; resume from an older checkpoint with a lower optimizer.lr or another run.seed"));
}

}  // namespace retain
