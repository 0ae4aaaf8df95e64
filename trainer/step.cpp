// One optimizer step.
#include <array>
#include <cmath>
#include <limits>

#include "trainer/optimizer/adamw.h"
#include "trainer/optimizer/schedule.h"
#include "trainer/trainer.h"

namespace retain {

namespace {

enum Scalar { kLoss, kSumOfSquares, kNorm, kClipScale, kScalars };  // the first two are summed together

}  // namespace

Trainer::StepMemory Trainer::take_step_memory(Arena& arena, const BatchShape& shape) {
  return {.batch = take_batch(arena, shape), .scalars = arena.take(DType::kFloat64, {kScalars})};
}

int64_t Trainer::step_memory_bytes(const BatchShape& shape) {
  Arena arena;
  take_step_memory(arena, shape);
  return arena.used_bytes();
}

void Trainer::train_on(const DeviceBatch& batch, double scale, bool first, bool last) {
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
    backend_.reduce({.kind = ReduceKind::kSum, .x = loss, .out = scalar(kLoss), .accumulate = !first || s < end});
  }
}

StepResult Trainer::step(const Progress& done, const Wishes& mine, const std::function<void()>& before_update) {
  StepResult result;
  result.lr = learning_rate(config_, done.tokens);

  std::vector<HostBatch> batches;
  int64_t valid_targets = 0;
  for (int64_t micro = 0; micro < loader_.micro_batches(); ++micro) {
    batches.push_back(loader_.load_from(done.samples, micro));
    valid_targets += batches.back().valid_targets;
  }
  // The one exchange between hosts: how many targets count in the global batch, and whether anybody wants something.
  std::array<double, 3> totals = {static_cast<double>(valid_targets), mine.stop ? 1.0 : 0.0, mine.save ? 1.0 : 0.0};
  mesh_.host().all_reduce(TensorView(totals.data(), DType::kFloat64, {3}), ReduceOp::kSum).wait();
  result.predicted_tokens =
      static_cast<int64_t>(totals[0]) / (static_cast<int64_t>(mesh_.shape().cp) * mesh_.shape().tp);
  result.wishes = {.stop = totals[1] > 0, .save = totals[2] > 0};
  if (result.predicted_tokens == 0) {  // on every rank
    result.loss = result.grad_norm = std::numeric_limits<double>::quiet_NaN();
    return result;
  }
  const double scale = 1.0 / static_cast<double>(result.predicted_tokens);

  for (size_t micro = 0; micro < batches.size(); ++micro) {
    train_on(upload_batch(backend_, batches[micro], memory_.batch), scale, micro == 0, micro + 1 == batches.size());
  }

  {
    const Phase phase(backend_, "gradient norm");
    exchange_.finish(config_.optimizer.clip, memory_.scalars.slice(0, kLoss, 2), scalar(kNorm), scalar(kClipScale));
  }
  {
    const Phase phase(backend_, "update");
    before_update();  // a save may still copy what is changed from here on
    // In the order in which the next forward reads them, so that it can begin while the last are being gathered.
    for (size_t bucket = layout_.buckets.size(); bucket-- > 0;) {
      adamw_update(backend_, parameters_, layout_.buckets[bucket], scalar(kClipScale), config_.optimizer, result.lr,
                   done.steps + 1);
      parameters_.begin_gather(reducer_, bucket);
    }
  }

  std::array<double, kScalars> scalars{};
  backend_.download(scalars.data(), memory_.scalars);
  result.loss = scalars[kLoss] * scale;
  result.grad_norm = scalars[kNorm];
  result.skipped = !std::isfinite(scalars[kClipScale]);
  return result;
}

}  // namespace retain
