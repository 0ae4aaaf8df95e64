#include "trainer/training_run.h"

#include <fmt/core.h>

#include <chrono>
#include <cmath>
#include <cstdio>
#include <limits>

namespace retain {

namespace {

using Clock = std::chrono::steady_clock;

// Updates skipped in a row, because the gradient was not finite, after which the run has diverged.
constexpr int kMostSkipped = 10;

double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

}  // namespace

TrainingRun::TrainingRun(Backend& backend, Mesh& mesh, Log& log, const Config& config, const Target& target,
                         const RunIdentity& identity, const std::string& resume, const RunLock* lock)
    : mesh_(mesh),
      log_(log),
      config_(config),
      identity_(identity),
      plan_(make_plan(config, mesh.shape().ranks(), target)),
      directory_(config.run.dir),
      trainer_(backend, mesh, config, target),
      metrics_(mesh.world_rank() == 0 ? directory_.file("metrics.jsonl") : ""),
      host_state_(trainer_.parameters(), trainer_.share()),
      writer_(mesh.host(), directory_.path(), Retention{.keep = config.checkpoint.keep, .keep_every = config.checkpoint.keep_every}, lock),
      valid_loss_(std::numeric_limits<double>::quiet_NaN()) {
  identity_.values["data.fingerprint"] = fmt::format("{:016x}", trainer_.loader().fingerprint());
  for (const auto& [name, path] : config.data.valid) {
    validation_.emplace(name, EvalWindows(TokenSet(path, config.model.vocab_size), config.data, config.model.vocab_size,
                                          trainer_.model().dims().batch.sequences, mesh.shape(), mesh.at(), config.eval.tokens));
  }
  check_can_save(mesh.host(), directory_.path(), host_state_.bytes());
  resume_from(resume);
}

void TrainingRun::resume_from(const std::string& resume) {
  const auto say = [this](const std::string& line) { log_.warn(line); };
  std::optional<Checkpoint> checkpoint;
  if (resume == "auto") {
    checkpoint = open_newest(mesh_.host(), directory_.path(), true, say);
  } else if (resume != "never") {
    checkpoint = open_verified(mesh_.host(), resume, say);
  }
  if (checkpoint) {
    check_identity(checkpoint->state().identity, identity_.values);
    load_training_state(*checkpoint, trainer_.backend(), trainer_.parameters(), mesh_.at().tp, mesh_.replicas());
    step_ = saved_step_ = checkpoint->state().step;
    valid_loss_ = checkpoint->state().valid_loss;
    log_.info("resumed from ", checkpoint->path().string(), ": ", step_, " of ", config_.steps(), " steps done");
  } else if (!list_steps(checkpoints_directory(directory_.path())).empty()) {
    log_.warn("starting anew: the checkpoints in ", directory_.checkpoints(), " are set aside");
  }
  // A run that goes on from an older step, or from the start, makes its own future.
  if (mesh_.world_rank() == 0) set_aside_newer(checkpoints_directory(directory_.path()), step_);
  mesh_.host().barrier();
  event(checkpoint ? "resume" : "start", {{"mesh", plan_.mesh.describe()}});
}

RunOutcome TrainingRun::run(const std::function<Wishes()>& poll_wishes) {
  log_.info("training ", plan_.parameters.all, " parameters for ", config_.steps(), " steps of ", config_.train.batch_tokens,
            " tokens on ", trainer_.backend().device_description(), ", ", plan_.mesh.describe(), ", ",
            fmt::format("{:.1f}", static_cast<double>(plan_.memory_bytes()) / (1 << 20)), " MiB a rank");
  int skipped = 0;
  while (step_ < config_.steps()) {
    const auto begin = Clock::now();
    const Wishes mine = poll_wishes();
    const StepResult result = trainer_.step(step_, mine);
    ++step_;
    report(result, seconds_since(begin));
    skipped = result.skipped ? skipped + 1 : 0;
    if (skipped > 0) log_.warn("step ", step_, ": the gradient is not finite; nothing was updated");
    if (skipped >= kMostSkipped) {
      throw Error(ErrorKind::kDiverged,
                  fmt::format("step {}: {} updates in a row had no finite gradient; resume from an older checkpoint with a lower "
                              "optimizer.lr or another run.seed",
                              step_, skipped));
    }
    const bool last = step_ == config_.steps();
    const bool due = config_.eval.every > 0 && step_ % config_.eval.every == 0;
    if (due || (last && !validation_.empty())) validate();
    settle_save(false);
    const bool save_due = config_.checkpoint.every > 0 && step_ % config_.checkpoint.every == 0;
    if (save_due || last || result.wishes.stop || result.wishes.save) begin_save();
    if (result.wishes.stop && !last) {
      settle_save(true);
      event("stop", {});
      log_.info("stopped on request after ", step_, " of ", config_.steps(), " steps; the same command goes on from here");
      return RunOutcome::kStopped;
    }
  }
  if (saved_step_ != step_) begin_save();
  settle_save(true);
  event("done", {});
  return RunOutcome::kFinished;
}

void TrainingRun::report(const StepResult& result, double seconds) {
  if (mesh_.world_rank() != 0) return;
  StepMetrics metrics{.step = step_, .tokens = step_ * config_.train.batch_tokens, .loss = result.loss,
                      .grad_norm = result.grad_norm, .lr = result.lr,
                      .tokens_per_second = static_cast<double>(config_.train.batch_tokens) / seconds, .mfu = 0,
                      .memory_bytes = plan_.memory_bytes(), .step_seconds = seconds};
  if (const double peak = peak_flops(plan_.target); peak > 0) {
    metrics.mfu = metrics.tokens_per_second * plan_.flops_per_token / (peak * plan_.mesh.ranks());
  }
  metrics_.record(metrics);
  if (step_ == 1 || step_ % config_.log.every == 0 || step_ == config_.steps()) {
    std::puts(step_line(metrics, config_.steps()).c_str());
    std::fflush(stdout);
  }
}

void TrainingRun::validate() {
  std::map<std::string, double> values;
  for (const auto& [name, windows] : validation_) {
    const EvalResult result = evaluate(trainer_.backend(), mesh_, trainer_.model(), windows, RetentionForm::kChunkwise);
    values["valid/" + name + "/loss"] = result.loss;
    valid_loss_ = result.loss;
  }
  if (mesh_.world_rank() != 0 || values.empty()) return;
  metrics_.record(step_, values);
  std::string line = fmt::format("step={}/{}", step_, config_.steps());
  for (const auto& [name, value] : values) line += fmt::format(" {}={:.4f}", name, value);
  std::puts(line.c_str());
  std::fflush(stdout);
}

void TrainingRun::begin_save() {
  if (saved_step_ == step_) return;
  settle_save(true);
  host_state_.download(trainer_.backend(), trainer_.parameters());
  RunState state;
  state.step = step_;
  state.tokens = step_ * config_.train.batch_tokens;
  state.seed = config_.run.seed;
  state.next_sample = state.tokens / config_.data.seq_len;
  state.mesh = mesh_.shape();
  state.zero = config_.parallel.zero;
  state.valid_loss = valid_loss_;
  state.build = identity_.build;
  state.config_text = identity_.resolved_config;
  state.identity = identity_.values;
  writer_.begin(state, placements_of(trainer_.parameters().layout(), mesh_.at().tp), host_state_.flat());
  saved_step_ = step_;
}

void TrainingRun::settle_save(bool wait) {
  const std::optional<SaveResult> result = wait ? writer_.finish() : writer_.poll();
  if (!result) return;
  if (!result->committed) {
    log_.error("checkpoint of step ", result->step, " failed, training goes on: ", result->message);
    event("save_failed", {{"step", std::to_string(result->step)}, {"reason", result->message}});
    if (step_ == config_.steps() && wait) throw Error(result->kind, "the last checkpoint could not be saved: " + result->message);
    return;
  }
  if (!result->message.empty()) log_.warn(result->message);
  log_.info("committed step ", result->step, " (", result->bytes, " bytes in ", fmt::format("{:.2f}", result->seconds), " s)");
  event("checkpoint", {{"step", std::to_string(result->step)}});
}

void TrainingRun::event(const std::string& kind, const std::map<std::string, std::string>& values) {
  if (mesh_.world_rank() == 0) append_event(directory_.file("events.jsonl"), step_, kind, values);
}

}  // namespace retain
