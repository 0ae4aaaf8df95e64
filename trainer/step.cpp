// One optimizer step.
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

enum Scalar { kLoss, kSumOfSquares, kNorm, kClipScale, kScalars };  // the first two are summed together

TensorView scalar(const TensorView& scalars, Scalar i) { return scalars.slice(0, i, 1); }

}  // namespace

void Trainer::take_slot_memory(Arena& arena, const BatchShape& shape, int64_t micro_batches, Slot& slot) {
  slot.batches = take_step_batches(arena, shape, micro_batches);
  slot.scalars = arena.take(DType::kFloat64, {kScalars});
}

int64_t Trainer::step_memory_bytes(const BatchShape& shape, int64_t micro_batches) {
  Arena arena;
  std::array<Slot, 2> slots;
  for (Slot& slot : slots) take_slot_memory(arena, shape, micro_batches, slot);
  return arena.used_bytes();
}

int64_t Trainer::staging_bytes(const BatchShape& shape, int64_t micro_batches) {
  Arena arena;
  Slot slot;
  take_slot_memory(arena, shape, micro_batches, slot);
  return 2 * (slot.batches.block.bytes() + slot.scalars.bytes());
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
  const NextStep next{.wishes = {.stop = totals[kStop] > 0, .save = totals[kSave] > 0}, .failed = totals[kFailed] > 0};
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
  return next;
}

void Trainer::train_on(const DeviceBatch& batch, double scale, bool first, bool last, const TensorView& sum_of_losses) {
  const int64_t end = batch.shape.segment_count - 1;
  {
    const Phase phase(backend_, "forward");
    for (int64_t s = 0; s <= end; ++s) model_.forward(batch.at_segment(s), RetentionForm::kChunkwise);
  }
  for (int64_t s = end; s >= 0; --s) {
    const DeviceBatch segment = batch.at_segment(s);
    if (s < end) {
      const Phase phase(backend_, "forward again");
      model_.repeat_forward(segment);
    }
    const Phase phase(backend_, "loss and backward");
    const GradientWrite write = exchange_.begin_backward(first && s == end, last && s == 0);
    const TensorView loss = model_.loss_and_backward(segment, scale, write, RetentionForm::kChunkwise,
                                                     [&](int64_t flat_end) { exchange_.completed(flat_end); });
    backend_.reduce({.kind = ReduceKind::kSum, .x = loss, .out = sum_of_losses, .accumulate = !first || s < end});
  }
}

void Trainer::queue(const std::function<void()>& before_update) {
  RETAIN_CHECK(next_, "no step was prepared");
  if (next_->failure) std::rethrow_exception(next_->failure);
  const Step& step = queued_.emplace_back(std::move(*next_));
  next_.reset();
  backend_.activity().at_step(step.done.steps + 1);
  if (step.result.predicted_tokens == 0) return;
  const double scale = 1.0 / static_cast<double>(step.result.predicted_tokens);
  const Slot& slot = slots_[step.slot];
  for (size_t micro = 0; micro < step.batches.size(); ++micro) {
    train_on(step.batches[micro], scale, micro == 0, micro + 1 == step.batches.size(), scalar(slot.scalars, kLoss));
  }
  exchange_.sit_out((loader_.rounds() - loader_.micro_batches()) * dims_.batch.segment_count);
  queue_update(step, slot.scalars, before_update);
  slot.scalars_on_host->begin_copy({&slot.scalars, 1});
}

void Trainer::queue_update(const Step& step, const TensorView& scalars, const std::function<void()>& before_update) {
  {
    const Phase phase(backend_, "gradient norm");
    exchange_.finish(config_.optimizer.clip, scalars.slice(0, kLoss, 2), scalar(scalars, kNorm),
                     scalar(scalars, kClipScale));
  }
  const Phase phase(backend_, "update");
  before_update();  // a save may still copy what is changed from here on
  // In the order in which the next forward reads them, so that it can begin while the last are being gathered.
  for (size_t bucket = layout_.buckets.size(); bucket-- > 0;) {
    adamw_update(backend_, parameters_, layout_.buckets[bucket], scalar(scalars, kClipScale), config_.optimizer,
                 step.result.lr, step.done.steps + 1);
    parameters_.begin_gather(reducer_, bucket);
  }
}

StepResult Trainer::finish() {
  RETAIN_CHECK(!queued_.empty(), "no step was queued");
  const Step step = std::move(queued_.front());
  queued_.pop_front();
  StepResult result = step.result;
  if (result.predicted_tokens == 0) {
    result.loss = result.grad_norm = std::numeric_limits<double>::quiet_NaN();
    return result;
  }
  HostBuffer& memory = *slots_[step.slot].scalars_on_host;
  memory.wait();
  std::array<double, kScalars> scalars{};
  std::memcpy(scalars.data(), memory.data(), sizeof(scalars));
  result.loss = scalars[kLoss] * (1.0 / static_cast<double>(result.predicted_tokens));
  result.grad_norm = scalars[kNorm];
  result.skipped = !std::isfinite(scalars[kClipScale]);
  return result;
}

StepResult Trainer::step(const Progress& done, const Wishes& mine, const std::function<void()>& before_update) {
  prepare(done, mine);
  queue(before_update);
  return finish();
}

}  // namespace retain
