#include "trainer/run/training_run.h"

#include <fmt/core.h>

#include <array>
#include <chrono>
#include <cmath>
#include <fstream>
#include <limits>
#include <string>
#include <utility>

#include "parallel/host_name.h"
#include "trainer/numerics/naming.h"
#include "trainer/numerics/replay.h"
#include "trainer/plan/gpu.h"
#include "trainer/plan/run_disk.h"
#include "trainer/run/short_text.h"
#include "trainer/tp_chunks.h"

namespace retain {

namespace {

using Clock = std::chrono::steady_clock;

// What a save may take before one was measured.
constexpr double kSlowDiskBytesPerSecond = 1e8;
double save_guess_seconds(int64_t bytes) { return 1 + static_cast<double>(bytes) / kSlowDiskBytesPerSecond; }

double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

// Without a line; see ProgressBarOptions.
constexpr double kSilentSeconds = 60;

constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();

constexpr int64_t kTuningLimitBytes = int64_t{16} << 20;

// What was measured is kept, so that a resume computes the same bits.
const char* const kTpChunksFile = "ranks/tp_chunks.txt";

std::string tuning_file(int world_rank) { return fmt::format("ranks/tuning-{:05d}.txt", world_rank); }

}  // namespace

TrainingRun::TrainingRun(Backend& backend, Mesh& mesh, Log& log, const Config& config, const Target& target,
                         const RunIdentity& identity, const RunStart& start, const RunLock* lock, ComputeClock* clock,
                         EnergyMeter* energy)
    : mesh_(mesh),
      log_(log),
      config_(config),
      progress_(log, {.bar = start.bar, .say = [this](const std::string& line) { print(line); }}),
      work_(std::in_place, progress_, WorkState{.what = "starting"}),
      identity_(identity),
      plan_(make_plan(config, mesh.shape().ranks(), target)),
      directory_(config.run.dir),
      trainer_(backend, mesh, config, target),
      host_state_(backend, trainer_.parameters(), trainer_.reducer().share()),
      writer_(mesh.host(), directory_.path(), retention_of(config.checkpoint), lock, &backend.activity()),
      lock_(lock),
      clock_(mesh.shape().ranks() > 1 ? clock : nullptr),
      energy_(energy),
      start_(start),
      guard_(config.numerics),
      valid_loss_(std::numeric_limits<double>::quiet_NaN()) {
  start_.clock.end_part("model");
  start_.clock.move_last(trainer_.opening_seconds(), "data");
  RETAIN_CHECK(log.directory() == config.run.dir, "a log of ", log.directory(), " for a run in ", config.run.dir);
  identity_.keys[kDataContents] = {fmt::format("{:016x}", trainer_.loader().contents()), Resume::kIfAllowed};
  const std::optional<int32_t> end_token = trainer_.loader().end_token();
  identity_.keys[kDataEndToken] = {end_token ? std::to_string(*end_token) : kNoEndToken};
  identity_.keys["data.tokenizer"].resolved = trainer_.loader().tokenizer()->fingerprint;
  identity_.keys["device"].resolved = device_name(target.device);
  identity_.keys["precision"].resolved = precision_name(target.compute);
  std::vector<std::string> names, paths;
  for (const auto& [name, path] : config.data.valid) {
    names.push_back(name);
    paths.push_back(path);
  }
  std::vector<Documents> sets = open_documents(mesh.host(), paths, config.data, config.model.vocab_size,
                                               trainer_.loader().tokenizer(), end_token);
  const BatchShape& batch = trainer_.model().dims().batch;
  for (size_t i = 0; i < sets.size(); ++i) {
    validation_.emplace(names[i], EvalWindows(std::move(sets[i]), config.data, config.model.vocab_size, batch.sequences,
                                              mesh.shape(), mesh.at(), config.eval.tokens, batch.segment_tokens()));
  }
  if (start.limit && mesh.world_rank() == 0) wall_time_.emplace(*start.limit, save_guess_seconds(host_state_.bytes()));
  start_.clock.end_part("data");
  load_tuning();
  if (config.checkpoint.keep == 1)
    log_.warn("checkpoint.keep is 1: a run whose newest checkpoint is damaged has no older one to go back to");
}

int64_t TrainingRun::steps() const {
  const int64_t left = config_.train.tokens - origin_.tokens, batch = config_.train.batch_tokens;
  return origin_.steps + left / batch + (left % batch > 0 ? 1 : 0);  // fewer than are done when tokens were taken away
}

RunOutcome TrainingRun::run(const std::function<Wishes()>& poll_wishes, const ProfiledSteps& profiled) {
  if (finished()) return RunOutcome::kFinished;
  first_steps_.emplace(trainer_.backend().activity(), "first step");
  work_.emplace(progress_, WorkState{.what = "training", .done = step_, .total = steps()});
  first_work_.emplace(progress_, WorkState{.what = "first step"});
  start_.clock.end_part("checkpoint");
  poll_wishes_ = poll_wishes;
  began_ = Clock::now();
  choose_tp_chunks();
  log_.info("training ", plan_.parameters.all, " parameters for ", steps(), " steps of ", config_.train.batch_tokens,
            " tokens on ", trainer_.backend().device_description(), ", ", plan_.mesh.describe(), ", ",
            fmt::format("{:.1f}", static_cast<double>(plan_.memory_bytes()) / (1 << 20)), " MiB a rank");
  if (plan_.dealing.idle() > 0) log_.info(plan_.dealing.describe());
  if (wall_time_) log_.info("wall time: ", wall_time_->describe(Clock::now()));
  if (validation_due_ && rest({.stop = stop_is_wished()}, false)) {
    return finished() ? RunOutcome::kFinished : RunOutcome::kStopped;
  }
  // A device that works while the host does something else is given a step before the one before it has ended.
  const int64_t ahead = trainer_.backend().runs_ahead() ? 1 : 0;
  queued_ = step_;
  step_begin_ = Clock::now();
  NextStep next;
  Wishes wishes;
  const auto prepare_next = [&] {
    next = trainer_.prepare(progress(queued_), own_wishes());
    wishes.stop = wishes.stop || next.wishes.stop;
    wishes.save = wishes.save || next.wishes.save;
  };
  prepare_next();
  const bool at_once = wishes.stop;  // what there is to be saved was saved before this start
  if (at_once) close(true);
  for (bool over = at_once; !over;) {
    // A step whose norms are taken keeps the host: that is not the time of the one before.
    if (is_due(config_.log.norms_every, queued_ + 1) && step_ < queued_) end_step();
    if (!trouble_) queue_step(profiled);
    if (!trouble_ && queued_ - step_ > ahead) end_step();
    if (!trouble_ && queued_ < steps()) prepare_next();
    if (!trouble_ && rests_after(queued_, next, wishes)) {
      if (step_ < queued_) end_step();
      if (!trouble_) {
        over = rest(wishes, next.failed);
        wishes = {};
        step_begin_ = Clock::now();
      }
    }
    if (trouble_) {
      go_back();
      prepare_next();
      if (next.failed) settle_save(true, true);  // which the error that follows would leave behind
    }
  }
  return finished() ? RunOutcome::kFinished : RunOutcome::kStopped;
}

void TrainingRun::queue_step(const ProfiledSteps& profiled) {
  if (lock_ && lock_->lost()) lock_->check_held();
  if (queued_ + 1 == profiled.first) trainer_.backend().set_profiling(true);
  const int64_t step = queued_ + 1;
  if (clock_ && is_measured(step)) clock_->begin_step();
  trainer_.queue([this] { host_state_.hold_queue(); }, {.limits = guard_.limits(queued_ - step_),
                                                        .replay = is_due(config_.numerics.replay_every, step),
                                                        .norms = is_due(config_.log.norms_every, step)});
  if (clock_ && is_measured(step)) clock_->end_step();
  ++queued_;
  if (queued_ == profiled.last) trainer_.backend().set_profiling(false);
}

void TrainingRun::end_step() {
  const StepResult result = trainer_.finish();
  ++step_;
  first_steps_.reset();
  first_work_.reset();
  if (++trained_ == 1)  // which says nothing of the pace of those that follow
    work_.emplace(progress_, WorkState{.what = "training", .done = step_, .total = steps()});
  const auto end = Clock::now();
  validation_due_ = validates_after(step_);
  valid_loss_ = std::numeric_limits<double>::quiet_NaN();
  store_tuning();
  if (trained_ == 1) {
    report_start();
    report_memory();
  }
  const double seconds = std::chrono::duration<double>(end - step_begin_).count();
  if (wall_time_) wall_time_->step_took(seconds);
  if (std::isfinite(result.loss) && (!best_ || result.loss < best_->loss)) best_ = {result.loss, step_};
  StepMetrics metrics{.step = step_, .step_seconds = seconds};
  measure(metrics);
  report(result, metrics);
  if (!result.layer_squares.empty()) {
    const Scalars norms = trainer_.layer_norms().total(mesh_.host(), result.layer_squares);
    if (metrics_) metrics_->record(step_, norms);
  }
  step_begin_ = end;
  settle_save(false, false);
  judge(result);
}

void TrainingRun::judge(const StepResult& result) {
  if (result.predicted_tokens == 0) {
    log_.warn("step ", step_, ": none of its ", config_.train.batch_tokens,
              " tokens has a target; nothing was updated");
    return guard_.record_nothing();
  }
  if (is_due(config_.numerics.replay_every, step_)) {
    refuse_replay_difference(mesh_, describe_place(mesh_, trainer_.backend()), trainer_.parameters().layout(), step_,
                             result.replay_difference);
  }
  const NumbersVerdict verdict = guard_.record(
      {.step = step_, .loss = result.agreed_loss, .grad_norm = result.grad_norm, .skipped = result.skipped});
  if (!verdict.warning.empty()) {
    log_.warn(verdict.warning);
    event(verdict.event, {{"reason", verdict.warning}, {"skipped", std::to_string(guard_.skipped())}});
  }
  if (!verdict.trouble.empty()) take_trouble(verdict);
}

bool TrainingRun::validates_after(int64_t step) const {
  return !validation_.empty() && (step == steps() || is_due(config_.eval.every, step));
}

bool TrainingRun::rests_after(int64_t step, const NextStep& next, const Wishes& wishes) const {
  return step == steps() || next.failed || wishes.stop || wishes.save || validates_after(step) ||
         is_due(config_.checkpoint.every, step) || is_due(config_.numerics.check_replicas_every, step);
}

bool TrainingRun::rest(Wishes wishes, bool next_failed) {
  bool due = is_due(config_.checkpoint.every, step_) || wishes.save || next_failed;
  if (due || wishes.stop || validation_due_ || step_ >= steps() || is_due(config_.numerics.check_replicas_every, step_))
    trainer_.check_replicas(step_);
  if (validation_due_ && !wishes.stop) {
    try {
      validation_due_ = !validate();
    } catch (const SharedError&) {  // what was trained is saved before the error ends the run
      begin_save(true);
      finish_last_save();
      throw;
    }
    wishes.stop = validation_due_;
    if (saved_step_ == step_ && !validation_due_) {  // by a start that was asked to stop before this was known
      saved_step_ = -1;
      due = true;
    }
  }
  if (wishes.save && !wishes.stop) log_.info("saving as asked: ", describe_request());
  if (due || finished() || wishes.stop) begin_save(finished() || wishes.stop || next_failed);
  const bool in_foreground = !config_.checkpoint.async && saved_step_ == step_;
  wishes.stop = wishes.stop || (in_foreground && !finished() && !next_failed && stop_is_wished());
  const bool ends = finished() || wishes.stop;
  if (!ends && !next_failed) return false;
  finish_last_save();
  if (ends) close(!finished());  // else what was trained is saved before the error ends the run
  return ends;
}

Wishes TrainingRun::own_wishes() {
  Wishes mine = poll_wishes_();
  mine.save = std::exchange(save_is_wished_, false) || mine.save;
  const auto now = Clock::now();
  if (wall_time_ && wall_time_->is_due(now, writer_.in_flight())) {
    mine.stop = true;
    mine.reason = "the limit of wall time: " + wall_time_->describe(now);
  }
  if (!mine.reason.empty()) own_reason_ = mine.reason;
  return mine;
}

bool TrainingRun::wishes_to_stop() {
  const Wishes mine = own_wishes();
  save_is_wished_ = mine.save;
  return mine.stop;
}

bool TrainingRun::stop_is_wished() {
  int32_t wished = wishes_to_stop() ? 1 : 0;
  mesh_.host().all_reduce(TensorView(&wished, DType::kInt32, {1}), ReduceOp::kMax).wait();
  return wished != 0;
}

std::string TrainingRun::describe_request() {
  return describe_requests(gather_texts(mesh_.host(), std::exchange(own_reason_, {})));
}

void TrainingRun::close(bool stopped) {
  const std::string reason = stopped ? "asked to stop: " + describe_request() : "finished";
  if (mesh_.world_rank() != 0) return;
  tell_end(log_, summary(),
           {.kind = stopped ? "stop" : "done",
            .reason = reason,
            .exit_code = stopped ? kStoppedOnRequest : 0,
            .world_rank = 0,
            .host = host_name()});
}

RunSummary TrainingRun::summary() const {
  return {.step = step_,
          .steps = steps(),
          .tokens = progress(step_).tokens,
          .steps_of_start = trained_,
          .seconds = began_ == Clock::time_point() ? 0 : seconds_since(began_),
          .best = best_,
          .best_valid = best_valid_,
          .checkpoint = newest_checkpoint_};
}

bool TrainingRun::is_measured(int64_t step) const {
  return (clock_ || mesh_.shape().ranks() == 1) && is_due(config_.log.every, step);
}

std::vector<RankCosts> TrainingRun::gather_costs() {
  RankCosts mine{.at_seconds = std::chrono::duration<double>(step_begin_.time_since_epoch()).count(),
                 .data_seconds = trainer_.loader().waited_seconds() - measured_.data_seconds,
                 .watts = kUnknown,
                 .joules = kUnknown,
                 .clock_mhz = kUnknown};
  measured_.data_seconds += mine.data_seconds;
  if (const auto energy = energy_ ? energy_->take() : std::nullopt) {
    mine.watts = energy->watts();
    mine.joules = joules_ += energy->joules;
    mine.clock_mhz = energy->clock_mhz.value_or(kUnknown);
  }
  if (!clock_) {
    mine.waiting_ms = mine.all_ms = kUnknown;
    return {mine};
  }
  const ComputeClock::Times times = clock_->take_times();
  // By a micro-batch: replicas need not have equally many.
  mine.own_ms = times.own_ms / static_cast<double>(trainer_.loader().micro_batches());
  mine.waiting_ms = times.all_ms - times.own_ms;
  mine.all_ms = times.all_ms;
  Communicator& host = mesh_.host();
  std::vector<RankCosts> all(static_cast<size_t>(host.size()));
  constexpr int64_t kNumbers = sizeof(RankCosts) / sizeof(double);
  host.all_gather(TensorView(all.data(), DType::kFloat64, {host.size(), kNumbers}),
                  TensorView(&mine, DType::kFloat64, {kNumbers}))
      .wait();
  return all;
}

SlowestRank TrainingRun::find_slowest(const std::vector<RankCosts>& ranks) {
  std::vector<double> times;
  for (const RankCosts& rank : ranks) times.push_back(rank.own_ms);
  // By rank 0's clock, so that all judge alike.
  const SlowestRank slowest = slow_ranks_.observe(step_, ranks.front().at_seconds, times);
  for (const int rank : slow_ranks_.slow_for_long()) {
    const std::string place = broadcast_text(mesh_.host(), describe_place(mesh_, trainer_.backend()), rank);
    log_.warn(place,
              fmt::format(" has been more than {:.0f} % slower than the median of all ranks for {} steps: it takes "
                          "{:.2f} ms of its own for a micro-batch, its waiting left out",
                          100 * (SlowRanks::kSlow - 1), SlowRanks::kPatience, times[static_cast<size_t>(rank)]));
    event("slow_rank", {{"rank", std::to_string(rank)}, {"place", place}});
  }
  return slowest;
}

void TrainingRun::measure(StepMetrics& metrics) {
  measured_.step_seconds += metrics.step_seconds;
  ++measured_.steps;
  if (!is_measured(step_)) return;
  const std::vector<RankCosts> ranks = gather_costs();
  const double tokens = static_cast<double>(measured_.steps * config_.train.batch_tokens);
  metrics.costs = combine(ranks, measured_.step_seconds, tokens);
  if (clock_) metrics.slowest = find_slowest(ranks);
  measured_.step_seconds = 0;
  measured_.steps = 0;
}

void TrainingRun::report(const StepResult& result, StepMetrics metrics) {
  metrics.tokens = progress(step_).tokens;
  metrics.loss = result.loss;
  metrics.grad_norm = result.grad_norm;
  metrics.lr = result.lr;
  metrics.tokens_per_second = static_cast<double>(config_.train.batch_tokens) / metrics.step_seconds;
  metrics.memory_bytes = plan_.memory_bytes();
  if (const double peak = peak_flops(plan_.target, trainer_.backend().device_description()); peak > 0) {
    metrics.mfu = metrics.tokens_per_second * plan_.flops_per_token / (peak * plan_.mesh.ranks());
  }
  work_->at(step_, fmt::format("loss {:.3f} {} tok/s", metrics.loss, short_number(metrics.tokens_per_second)));
  metrics.seconds_left = work_->state().seconds_left();
  if (mesh_.world_rank() != 0) return;
  metrics_->record(metrics);
  // Steps that are long have a line each, lest there be none for so long.
  const bool long_ago = progress_.silent_seconds() + metrics.step_seconds > kSilentSeconds;
  if (step_ == 1 || is_due(config_.log.every, step_) || step_ == steps() || long_ago)
    print(step_line(metrics, steps()));
}

void TrainingRun::print(const std::string& line) {
  log_.print(line);
  progress_.spoke();
}

void TrainingRun::report_start() {
  start_.clock.end_part("first step");
  log_.info("the start took ", start_.clock.describe());
  std::map<std::string, std::string> seconds = {{"seconds", fmt::format("{:.3f}", start_.clock.seconds())}};
  for (const auto& [part, taken] : start_.clock.parts()) seconds[part] = fmt::format("{:.3f}", taken);
  event("started", seconds);
}

void TrainingRun::report_memory() {
  const Backend& backend = trainer_.backend();
  const std::optional<GpuMemory> gpu = backend.gpu_memory();
  if (!gpu) return;
  const auto mebibytes = [](int64_t bytes) {
    return fmt::format("{:.1f} MiB", static_cast<double>(bytes) / (1 << 20));
  };
  const int64_t ours = backend.allocated_bytes(), used = gpu->total_bytes - gpu->free_bytes;
  log_.info("memory of the GPU: ", mebibytes(ours), " as planned, ", mebibytes(used - ours),
            " for CUDA, cuBLAS, NCCL and other processes (expected ", mebibytes(plan_.libraries_bytes()), "), ",
            mebibytes(gpu->free_bytes), " free");
}

void TrainingRun::load_tuning() {
  const std::string file = tuning_file(mesh_.world_rank());
  attempt([&] { tuning_ = read_text(File::open_input(directory_.file(file)), kTuningLimitBytes); });
  const std::string refusal = tuning_.empty() ? "" : trainer_.backend().set_tuning(tuning_);
  const Outcome known = agree(mesh_.host(), {.ok = refusal.empty(), .message = concat(file, ": ", refusal)});
  if (!known.ok) log_.warn("products are measured anew where what was measured before is of no use: ", known.message);
}

void TrainingRun::choose_tp_chunks() {
  if (!measures_tp_chunks(trainer_)) return;
  // Other sizes, or another device, are measured anew.
  const Dimensions& dims = trainer_.model().dims();
  const std::string key = fmt::format("{}, {} rows of {}, ffn {}, {} layers, {}, {}", mesh_.shape().describe(),
                                      dims.rows(), dims.model.hidden_size, dims.model.ffn_size, dims.model.layers,
                                      dtype_name(dims.compute), trainer_.backend().device_description());
  std::string line;
  int64_t known = 0;
  if (mesh_.world_rank() == 0) {
    std::ifstream in(directory_.file(kTpChunksFile));
    if (std::getline(in, line) && line == key) in >> known;
  }
  known = std::stoll(broadcast_text(mesh_.host(), std::to_string(known), 0));
  if (known > 0) return trainer_.model().set_tp_chunks(known);
  const std::string times = measure_tp_chunks(trainer_);
  const int64_t chunks = trainer_.model().tp_chunks();
  log_.info("tp exchanges rows in ", chunks, chunks == 1 ? " chunk" : " chunks", " (forward with ", times, ")");
  if (mesh_.world_rank() == 0) log_.replace(kTpChunksFile, fmt::format("{}\n{}\n", key, chunks));
}

void TrainingRun::store_tuning() {
  const int64_t times_learned = trainer_.backend().times_learned();
  if (times_learned == times_learned_) return;
  times_learned_ = times_learned;
  std::string now = trainer_.backend().tuning();
  if (now == tuning_) return;
  log_.replace(tuning_file(mesh_.world_rank()), now);
  tuning_ = std::move(now);
}

void TrainingRun::event(const std::string& kind, const std::map<std::string, std::string>& values,
                        std::optional<int64_t> step) {
  log_.event(step.value_or(step_), kind, values);
}

}  // namespace retain
