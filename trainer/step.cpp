// One optimizer step.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "trainer/optimizer/adamw.h"
#include "trainer/optimizer/schedule.h"
#include "trainer/trainer.h"

namespace retain {

namespace {

// The first two are summed over the replicas together, then the second and third over tp.
enum Scalar { kLoss, kSumOfSquares, kAgreedLoss, kNorm, kClipScale, kScalars };

TensorView scalar(const TensorView& scalars, Scalar i) { return scalars.slice(0, i, 1); }

// What the host decides for a step. Operations read it on the device, so that theirs are the same arguments in every
// step.
enum Setting { kLossScale, kLimits, kRates = kLimits + 2, kSettings = kRates + std::tuple_size_v<UpdateRates> };

}  // namespace

Trainer::AtWork Trainer::take_work_memory(Arena& arena, const BatchShape& shape) {
  return {.batch = take_step_batches(arena, shape, 1),
          .settings = arena.take(DType::kFloat64, {kSettings}),
          .scalars = arena.take(DType::kFloat64, {kScalars})};
}

void Trainer::take_slot_memory(Arena& arena, const BatchShape& shape, int64_t micro_batches, int64_t fingerprints,
                               Slot& slot) {
  slot.batches = take_step_batches(arena, shape, micro_batches);
  slot.scalars = arena.take(DType::kFloat64, {kScalars});
  if (fingerprints > 0) slot.fingerprints = arena.take(DType::kInt32, {2, fingerprints / 2, 2});
}

int64_t Trainer::step_memory_bytes(const BatchShape& shape, int64_t micro_batches, int64_t fingerprints) {
  Arena arena;
  take_work_memory(arena, shape);
  std::array<Slot, 2> slots;
  for (Slot& slot : slots) take_slot_memory(arena, shape, micro_batches, fingerprints, slot);
  return arena.used_bytes();
}

int64_t Trainer::staging_bytes(const BatchShape& shape, int64_t micro_batches, int64_t fingerprints) {
  Arena arena;
  Slot slot;
  take_slot_memory(arena, shape, micro_batches, fingerprints, slot);
  return 2 * (slot.batches.block.bytes() + slot.result_bytes());
}

int64_t Trainer::load(Step& step) {
  Slot& slot = slots_[step.slot];
  int64_t valid_targets = 0;
  for (int64_t micro = 0; micro < loader_.micro_batches(); ++micro) {
    const HostBatch batch = loader_.load_from(step.done.samples, micro);
    const auto i = static_cast<size_t>(micro);
    step.batches.push_back(pack_batch(batch, slot.packed.batches[i], slot.batches.batches[i]));
    valid_targets += batch.valid_targets;
  }
  return valid_targets;
}

NextStep Trainer::prepare(const Progress& done, const Wishes& mine) {
  RETAIN_CHECK(!next_ && queued_.size() < slots_.size(), "a step is prepared already, or ", queued_.size(),
               " are not finished");
  Step& step = next_.emplace(Step());
  step.done = done;
  step.slot = std::exchange(free_slot_, 1 - free_slot_);
  step.result.lr = learning_rate(config_, done.tokens);
  int64_t valid_targets = 0;
  try {
    valid_targets = load(step);
  } catch (...) {
    step.failure = std::current_exception();
  }
  // The one exchange between hosts: how many targets count in the global batch, and whether anybody wants something.
  enum Total { kTargets, kStop, kSave, kFailed, kTotals };
  std::array<double, kTotals> totals = {static_cast<double>(valid_targets), mine.stop ? 1.0 : 0.0,
                                        mine.save ? 1.0 : 0.0, step.failure ? 1.0 : 0.0};
  mesh_.host().all_reduce(TensorView(totals.data(), DType::kFloat64, {kTotals}), ReduceOp::kSum).wait();
  const NextStep next{.wishes = {.stop = totals[kStop] > 0, .save = totals[kSave] > 0, .reason = {}},
                      .failed = totals[kFailed] > 0};
  if (next.failed) {
    if (!step.failure)
      step.failure = std::make_exception_ptr(CommunicationError("another rank could not load its batches"));
    return next;
  }
  step.result.predicted_tokens =
      static_cast<int64_t>(totals[kTargets]) / (static_cast<int64_t>(mesh_.shape().cp) * mesh_.shape().tp);
  if (step.result.predicted_tokens == 0) return next;  // on every rank
  // Who used this block last is finished.
  Slot& slot = slots_[step.slot];
  slot.packed_memory->begin_upload(slot.batches.block);
  slot.packed_memory->hold_queue();
  step.uploaded = true;
  return next;
}

void Trainer::discard() {
  if (!next_) return;
  Slot& slot = slots_[next_->slot];
  if (next_->uploaded) slot.packed_memory->wait();  // before others write to it
  free_slot_ = next_->slot;
  next_.reset();
}

void Trainer::upload_settings(const Step& step, const UpdateLimits& limits) {
  const auto targets = static_cast<double>(step.result.predicted_tokens);
  const UpdateRates rates = update_rates(config_, step.result.lr, step.done.steps + 1);
  std::array<double, kSettings> settings{};
  settings[kLossScale] = 1.0 / targets;
  settings[kLimits] = limits.grad_norm;
  settings[kLimits + 1] = limits.loss * targets * mesh_.shape().tp;
  std::ranges::copy(rates, settings.begin() + kRates);
  backend_.upload(work_.settings, settings.data());
}

DeviceBatch Trainer::bring_to_work(const Step& step, size_t micro) {
  const int64_t bytes = work_.batch.block.bytes();
  backend_.copy(work_.batch.block,
                slots_[step.slot].batches.block.slice(0, static_cast<int64_t>(micro) * bytes, bytes));
  const DeviceBatch& from = step.batches[micro];
  DeviceBatch batch = work_.batch.batches.front();
  batch.position_offset = from.position_offset;
  if (!from.document_start) batch.document_start = {};
  return batch;
}

void Trainer::train_on_recorded(const DeviceBatch& batch, const MicroBatchPass& pass) {
  const StepRecordings::Part part = StepRecordings::micro_batch(pass.first, static_cast<bool>(batch.document_start));
  if (recordings_.queue(part, [&] { train_on(batch, pass); })) return;
  // There are no other replicas, so that what is left to be done is to count.
  exchange_.begin_backward(pass.first, pass.last);
  exchange_.completed(layout_.flat_elements);
}

void Trainer::train_on(const DeviceBatch& batch, const MicroBatchPass& pass) {
  const int64_t end = batch.shape.segment_count - 1;
  {
    const Phase phase(backend_, "forward");
    const auto forward = [&] {
      for (int64_t s = 0; s <= end; ++s) model_.forward(batch.at_segment(s), RetentionForm::kChunkwise);
    };
    pass.norms ? layer_norms_.watch(model_, forward) : forward();
  }
  // Where a replica's own gradients of all segments are never together, they are looked at after the first backward.
  const int64_t looked_at = reducer_.kept() == GradientsKept::kAll ? 0 : end;
  for (int64_t s = end; s >= 0; --s) {
    const DeviceBatch segment = batch.at_segment(s);
    if (s < end) {
      const Phase phase(backend_, "forward again");
      model_.repeat_forward(segment);
    }
    const Phase phase(backend_, "loss and backward");
    const GradientExchange::Look look = s == looked_at ? pass.look : GradientExchange::Look();
    const GradientWrite write = pass.rehearsal
                                    ? exchange_.begin_rehearsal(pass.first && s == end, look)
                                    : exchange_.begin_backward(pass.first && s == end, pass.last && s == 0, look);
    const TensorView scale = work_.settings.slice(0, kLossScale, 1);
    const TensorView loss = model_.loss_and_backward(segment, scale, write, RetentionForm::kChunkwise,
                                                     [&](int64_t flat_end) { exchange_.completed(flat_end); });
    backend_.reduce(
        {.kind = ReduceKind::kSum, .x = loss, .out = pass.sum_of_losses, .accumulate = !pass.first || s < end});
    if (pass.look_at_losses) pass.look_at_losses(s, loss);
  }
}

void Trainer::queue(const std::function<void()>& before_update, const StepOrder& order) {
  RETAIN_CHECK(next_, "no step was prepared");
  if (next_->failure) std::rethrow_exception(next_->failure);
  Step& step = queued_.emplace_back(std::move(*next_));
  next_.reset();
  backend_.activity().at_step(step.done.steps + 1);
  if (step.result.predicted_tokens == 0) return;
  upload_settings(step, order.limits);
  const Slot& slot = slots_[step.slot];
  step.replay = order.replay;
  if (step.replay) rehearse(step);
  if (order.norms) layer_norms_.begin();
  for (size_t micro = 0; micro < step.batches.size(); ++micro) {
    MicroBatchPass pass{.first = micro == 0,
                        .last = micro + 1 == step.batches.size(),
                        .norms = order.norms,
                        .sum_of_losses = scalar(work_.scalars, kLoss)};
    const DeviceBatch batch = bring_to_work(step, micro);
    const bool replayed = step.replay && pass.first;
    if (replayed) take_fingerprints(slot.fingerprints.slice(0, 1, 1), pass);
    if (replayed || pass.norms) {
      train_on(batch, pass);
    } else {
      train_on_recorded(batch, pass);
    }
  }
  exchange_.sit_out((loader_.rounds() - loader_.micro_batches()) * dims_.batch.segment_count);
  queue_update(before_update, order.norms);
  if (order.norms) step.result.layer_squares = layer_norms_.squares();
  backend_.copy(slot.scalars, work_.scalars);
  std::vector<TensorView> results = {slot.scalars};
  if (step.replay) results.push_back(slot.fingerprints);
  slot.results_on_host->begin_copy(results);
}

void Trainer::queue_update(const std::function<void()>& before_update, bool norms) {
  const TensorView &scalars = work_.scalars, clip_scale = scalar(scalars, kClipScale);
  const bool counted = recordings_.queue(StepRecordings::kNorm, [&] {
    const Phase phase(backend_, "gradient norm");
    const UpdateBounds bounds{.max_norm = config_.optimizer.clip, .limits = work_.settings.slice(0, kLimits, 2)};
    exchange_.finish(bounds, scalars.slice(0, kLoss, 3), scalar(scalars, kNorm), clip_scale);
  });
  if (!counted) exchange_.await_all();
  before_update();  // a save may still copy what is changed from here on
  const auto update = [&](Range flat) {
    const TensorView rates = work_.settings.slice(0, kRates, kSettings - kRates);
    adamw_update(backend_, parameters_, flat, clip_scale, rates, config_);
  };
  const auto update_all = [&](const std::function<void(Range)>& update_bucket) {
    const Phase phase(backend_, "update");
    // In the order in which the next forward reads them, so that it can begin while the last are being gathered.
    for (size_t bucket = layout_.buckets.size(); bucket-- > 0;) {
      update_bucket(layout_.buckets[bucket]);
      parameters_.begin_gather(reducer_, bucket);
    }
  };
  if (norms) {
    update_all([&](Range bucket) { layer_norms_.watch(bucket, update); });
  } else {
    recordings_.queue(StepRecordings::kUpdate, [&] { update_all(update); });
  }
}

StepResult Trainer::finish() {
  RETAIN_CHECK(!queued_.empty(), "no step was queued");
  const Step step = std::move(queued_.front());
  queued_.pop_front();
  StepResult result = step.result;
  if (result.predicted_tokens == 0) {
    result.loss = result.grad_norm = result.agreed_loss = std::numeric_limits<double>::quiet_NaN();
    return result;
  }
  const Slot& slot = slots_[step.slot];
  slot.results_on_host->wait();
  std::array<double, kScalars> scalars{};
  std::memcpy(scalars.data(), slot.results_on_host->data(), sizeof(scalars));
  const double per_target = 1.0 / static_cast<double>(result.predicted_tokens);
  result.loss = scalars[kLoss] * per_target;
  result.agreed_loss = scalars[kAgreedLoss] / mesh_.shape().tp * per_target;
  result.grad_norm = scalars[kNorm];
  result.skipped = !std::isfinite(scalars[kClipScale]);
  if (step.replay)
    result.replay_difference =
        find_difference(slot.results_on_host->data() + sizeof(scalars), slot.fingerprints.shape[1]);
  return result;
}

StepResult Trainer::step(const Progress& done, const Wishes& mine, const std::function<void()>& before_update) {
  prepare(done, mine);
  queue(before_update);
  return finish();
}

}  // namespace retain
