// How a run begins: where it goes on, what is set aside for that, and what changed since.
#include "trainer/run/training_run.h"

#include <fmt/core.h>

#include <filesystem>
#include <string>

#include "trainer/plan/run_disk.h"

namespace retain {

void TrainingRun::begin() {
  do_on_rank_0(mesh_.host(), [&] { refuse_link(checkpoints_directory(directory_.path())); });
  const std::optional<Checkpoint> checkpoint = open_checkpoint();
  if (checkpoint) {
    set_origin(checkpoint->state());
    newest_checkpoint_ = checkpoint->path().string();
    validation_due_ = checkpoint->state().validation_due && !validation_.empty();
    if (mesh_.world_rank() == 0) writer_.remember_whole(checkpoint->path(), checkpoint->state().valid_loss);
    if (!start_.init_from.empty())
      log_.warn("--init-from ", start_.init_from, " is not used: ", directory_.path(),
                " holds this run already, which goes on (--resume never would begin it anew)");
  }
  if (finished()) return tell_finished();
  for (const std::string& line : writer_.make_room_for_first()) log_.info(line);
  check_can_save(mesh_.host(), directory_.path(), host_state_.bytes());
  check_disk();
  std::map<std::string, std::string> about = {{"mesh", plan_.mesh.describe()}};
  if (checkpoint) {
    log_.info("resumed from ", checkpoint->path().string(), ": ", step_, " of ", steps(), " steps done");
    tell_changes(checkpoint->state());
    about["from"] = checkpoint->path().string();
  } else if (!start_.init_from.empty()) {
    take_weights_from(start_.init_from);
    about["weights"] = start_.init_from;
  }
  set_newer_aside(checkpoint.has_value());
  if (mesh_.world_rank() == 0) metrics_.emplace(log_, step_, config_.log.prometheus);
  event(checkpoint ? "resume" : "start", about);
  log_.files().flush(kPatienceWithReports);
}

void TrainingRun::check_disk() {
  do_on_rank_0(mesh_.host(), [&] {
    const DiskPlan disk = plan_disk(config_, plan_, step_, steps(), look_at_checkpoints(directory_.path()));
    const std::string warning = disk.warning(retention_of(config_.checkpoint));
    if (warning.empty()) return;
    // Where space cannot be taken beforehand, check_can_save() has found out nothing. The tensors are known to the
    // byte.
    const int64_t tensors_bytes =
        int64_t{kStates} * plan_.parameters.all * dtype_bytes(accumulate_of(plan_.target.compute));
    if (disk.lacks_at_first && *disk.free_bytes < tensors_bytes)
      throw Error(ErrorKind::kIo, concat("cannot save to ", directory_.checkpoints(), ": ", warning));
    log_.warn(warning);
  });
}

void TrainingRun::tell_finished() {
  const std::string done =
      step_ == steps() ? concat("this run is finished (", step_, " of ", steps(), " steps)")
                       : concat(step_, " steps are done, more than the ", steps(), " that train.tokens asks for");
  log_.info(done, ": nothing to train; raise train.tokens, or choose another run.dir for another run");
}

void TrainingRun::set_newer_aside(bool resumed) {
  if (mesh_.world_rank() == 0) {
    const Path checkpoints = checkpoints_directory(directory_.path());
    const std::vector<StepEntry> steps = list_steps(checkpoints);
    const int64_t newest = steps.empty() ? 0 : steps.front().step;
    if (!resumed && !steps.empty()) {
      log_.warn("starting anew: the checkpoints in ", directory_.checkpoints(), " are set aside");
    } else if (newest > step_) {
      log_.warn("going back to step ", step_, ": newer checkpoints in ", directory_.checkpoints(), " are set aside");
    }
    older_values_held_until_ = resumed ? step_ : newest;
    set_aside_newer(checkpoints, step_);
  }
  mesh_.host().barrier();
}

std::optional<Checkpoint> TrainingRun::open_checkpoint() {
  if (start_.resume == "never") return std::nullopt;
  const auto say = [this](const std::string& line) {
    log_.release();  // the directory says what was set aside in it, though the start may yet be refused
    log_.warn(line);
  };
  StateLoad load(trainer_.parameters(), mesh_.at().tp, host_state_);
  const LoadTarget target = load.target([&](const RunState& state) {
    refuse_changes(changes_since(state, identity_.read_config(state.config_text), identity_.keys, plan_.mesh),
                   start_.allow_changed);
  });
  std::optional<Checkpoint> checkpoint;
  if (start_.resume == "auto" || resumes_again()) {
    checkpoint = open_newest(mesh_.host(), directory_.path(), true, say, &target);
    if (!checkpoint) do_on_rank_0(mesh_.host(), [&] { directory_.refuse_lost_checkpoints(); });
    if (checkpoint) resumed_from_ = checkpoint->state().resumed_from;
  } else {
    checkpoint = open_verified(mesh_.host(), start_.resume, say, &target);
  }
  if (!checkpoint) return checkpoint;
  load.finish(trainer_.backend(), trainer_.reducer());
  compare_digest(*checkpoint, LoadedPart::kAll);
  return checkpoint;
}

void TrainingRun::compare_digest(const Checkpoint& checkpoint, LoadedPart part) {
  refuse_other_digest(mesh_.host(), checkpoint, trainer_.parameters().accumulate_dtype(),
                      trainer_.state_digest().compute(part), part);
}

bool TrainingRun::resumes_again() {
  int32_t again = 0;
  do_on_rank_0(mesh_.host(), [&] { again = went_on_from(start_.resume) ? 1 : 0; });
  resumed_from_ = broadcast_text(mesh_.host(), resumed_from_, 0);
  mesh_.host().broadcast(TensorView(&again, DType::kInt32, {1}), 0).wait();
  return again != 0;
}

bool TrainingRun::went_on_from(const std::string& path) {
  refuse_dangling_link(path);
  resumed_from_ = std::filesystem::weakly_canonical(path).string();
  const std::vector<StepEntry> steps = list_steps(checkpoints_directory(directory_.path()));
  std::string damage;
  for (const StepEntry& entry : steps) {
    std::string before;
    const Outcome known = attempt([&] { before = read_manifest(entry.path).state.resumed_from; });
    if (known.ok && before == resumed_from_) {
      log_.info("--resume ", path, " began this run, which goes on from its own newest checkpoint; to go back to ",
                path, " once more, choose another run.dir");
    }
    if (known.ok) return before == resumed_from_;
    if (known.kind != ErrorKind::kData) known.throw_if_failed();  // a damaged one says nothing: the next older does
    damage += "\n  " + known.message;
  }
  if (directory_.holds(resumed_from_)) return false;  // told to go back
  if (!steps.empty()) {
    throw Error(ErrorKind::kData,
                concat("no checkpoint in ", directory_.checkpoints(), " can be read, so --resume ", path,
                       " may have begun this run before; to begin there, choose another run.dir:", damage));
  }
  directory_.refuse_lost_checkpoints();
  return false;
}

void TrainingRun::set_origin(const RunState& saved) {
  // Samples of another length are counted anew.
  const bool same_samples = identity_.read_config(saved.config_text).config.data.seq_len == config_.data.seq_len;
  origin_ = {.steps = saved.step,
             .tokens = saved.tokens,
             .samples = same_samples ? saved.next_sample : saved.tokens / config_.data.seq_len};
  step_ = saved_step_ = saved.step;
  do_alike([&] {
    guard_.from_text(saved.numerics);
    if (saved.data_order < 1 || saved.data_order > static_cast<int>(DataOrder::kEven))
      throw Error(ErrorKind::kData, concat("this checkpoint's samples are in order ", saved.data_order,
                                           ", which a newer release of Retain knows: go on with that one"));
    trainer_.loader().set_order(static_cast<DataOrder>(saved.data_order));
  });
}

void TrainingRun::tell_changes(const RunState& saved) {
  if (mesh_.world_rank() != 0) return;  // all ranks know the same
  if (!saved.identity.contains(kDataContents))
    log_.info("this checkpoint of an older release does not say what its training data held: that is not compared");
  const SavedConfig config = identity_.read_config(saved.config_text);
  const std::vector<Change> changes = changes_since(saved, config, identity_.keys, plan_.mesh);
  for (const Change& change : changes) {
    const std::string line = concat("from step ", saved.step, " on ", change.describe());
    change.is_warning() ? log_.warn(line) : log_.info(line);
    event("changed", {{"key", change.key}, {"from", change.from}, {"to", change.to}}, saved.step);
  }
  const std::string jump = find_rate_jump(config.config, config_, saved.tokens, changes);
  if (!jump.empty()) log_.warn("from step ", saved.step, " on ", jump);
}

void TrainingRun::take_weights_from(const std::string& path) {
  StateLoad load(trainer_.parameters(), mesh_.at().tp, host_state_, LoadedPart::kWeights);
  // The model must be the same; how its weights were first drawn, and on which data it was trained, may differ.
  const LoadTarget target = load.target([&](const RunState& saved) {
    std::vector<Change> changes =
        changes_since(saved, identity_.read_config(saved.config_text), identity_.keys, plan_.mesh);
    std::erase_if(changes, [](const Change& change) {
      return change.resume != Resume::kMustAgree || change.key == "model.init_std" || change.key == "model.init" ||
             change.key == "model.base_width";
    });
    refuse_changes(changes, {});
  });
  const Checkpoint checkpoint = open_verified(
      mesh_.host(), path, [this](const std::string& line) { log_.warn(line); }, &target);
  load.finish(trainer_.backend(), trainer_.reducer());
  compare_digest(checkpoint, LoadedPart::kWeights);
  log_.info("starting with the weights of ", checkpoint.path().string(), ", trained for ", checkpoint.state().step,
            " steps");
}

}  // namespace retain
