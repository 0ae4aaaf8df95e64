// One optimizer step.
#include <array>
#include <cmath>
#include <limits>

#include "trainer/optimizer/adamw.h"
#include "trainer/optimizer/gradient_norm.h"
#include "trainer/optimizer/schedule.h"
#include "trainer/trainer.h"

namespace retain {

namespace {

enum Scalar { kLoss, kSumOfSquares, kNorm, kClipScale, kScalars };

}  // namespace

Trainer::StepMemory Trainer::take_step_memory(Arena& arena, const BatchShape& shape) {
  return {.batch = take_batch(arena, shape), .scalars = arena.take(DType::kFloat64, {kScalars})};
}

int64_t Trainer::step_memory_bytes(const BatchShape& shape) {
  Arena arena;
  take_step_memory(arena, shape);
  return arena.used_bytes();
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
    const DeviceBatch batch = upload_batch(backend_, batches[micro], memory_.batch);
    {
      const Phase phase(backend_, "forward");
      model_.forward(batch, RetentionForm::kChunkwise);
    }
    const Phase phase(backend_, "loss and backward");
    const TensorView loss =
        model_.loss_and_backward(batch, scale, micro == 0 ? GradientWrite::kReplace : GradientWrite::kAdd);
    backend_.reduce({.kind = ReduceKind::kSum, .x = loss, .out = scalar(kLoss), .accumulate = micro > 0});
  }

  {
    const Phase phase(backend_, "reduce gradients");
    reducer_.reduce(parameters_.flat_gradients());
    mesh_.replicas().all_reduce(scalar(kLoss), ReduceOp::kSum).wait();
  }
  {
    const Phase phase(backend_, "update");
    gradient_norm(backend_, mesh_, layout_, parameters_.flat_gradients(), reducer_.share(), config_.optimizer.clip,
                  scalar(kSumOfSquares), scalar(kNorm), scalar(kClipScale));
    before_update();  // a save may still copy what is changed from here on
    adamw_update(backend_, parameters_, parameters_.flat_gradients(), scalar(kClipScale), config_.optimizer, result.lr,
                 done.steps + 1);
  }
  {
    const Phase phase(backend_, "gather weights");
    parameters_.gather_weights(reducer_);
  }

  std::array<double, kScalars> scalars{};
  backend_.download(scalars.data(), memory_.scalars);
  result.loss = scalars[kLoss] * scale;
  result.grad_norm = scalars[kNorm];
  result.skipped = !std::isfinite(scalars[kClipScale]);
  return result;
}

}  // namespace retain
