#include "trainer/model/loss.h"

#include <algorithm>

#include "trainer/model/linear.h"

namespace retain {

LossHead::Scratch LossHead::take_scratch(Arena& arena, const Dimensions& dims, int tp_size) {
  Scratch scratch;
  scratch.logits = arena.take(dims.compute, {dims.logits_rows, dims.vocab_rows});
  if (tp_size > 1) {
    scratch.statistics = arena.take(dims.accumulate(), {dims.logits_rows, 3});
    scratch.gathered = arena.take(dims.accumulate(), {tp_size, dims.logits_rows, 3});
  }
  return scratch;
}

LossHead::LossHead(const ParameterStore& parameters, const ModelConfig& model, Residency residency) {
  const std::string name = model.tie_embeddings ? "embeddings.weight" : "lm_head.weight";
  weight_ = parameters.weight(name);
  if (residency == Residency::kTraining) gradient_ = parameters.gradient(name);
}

TensorView LossHead::logits(const Context& ctx, const TensorView& x, const Scratch& scratch) const {
  const TensorView out = scratch.logits.slice(0, 0, x.shape[0]);
  linear(ctx.backend, x, weight_, out);
  return out;
}

void LossHead::forward(const Context& ctx, const TensorView& x, const TensorView& loss, const Scratch& scratch) const {
  rows(ctx, x, loss, 1.0, scratch, {});
}

void LossHead::forward_backward(const Context& ctx, const TensorView& x, const TensorView& loss, double scale,
                                const Scratch& scratch, const TensorView& dx) const {
  rows(ctx, x, loss, scale, scratch, dx);
  ctx.tp.all_reduce(dx);
}

void LossHead::rows(const Context& ctx, const TensorView& x, const TensorView& loss, double scale,
                    const Scratch& scratch, const TensorView& dx) const {
  const int64_t n = x.shape[0];
  const Range vocab = ctx.dims.vocab;
  for (int64_t row = 0; row < n; row += ctx.dims.logits_rows) {
    const int64_t count = std::min(ctx.dims.logits_rows, n - row);
    const TensorView x_rows = x.slice(0, row, count);
    const TensorView targets = ctx.batch.targets.slice(0, row, count);
    const TensorView z = logits(ctx, x_rows, scratch);

    TensorView gathered;
    if (scratch.statistics) {
      const TensorView mine = scratch.statistics.slice(0, 0, count);
      ctx.backend.cross_entropy_statistics(
          {.logits = z, .targets = targets, .statistics = mine, .first_column = vocab.begin, .valid = vocab.size()});
      gathered = TensorView(scratch.gathered.data, scratch.gathered.dtype, {ctx.tp.size(), count, 3});
      ctx.tp.gather(gathered, mine);
    }
    ctx.backend.cross_entropy({.logits = z,
                               .targets = targets,
                               .gathered = gathered,
                               .loss = loss.slice(0, row, count),
                               .first_column = vocab.begin,
                               .valid = vocab.size(),
                               .scale = scale,
                               .gradient = static_cast<bool>(dx)});
    if (!dx) continue;
    linear_weight_gradient(ctx.backend, z, x_rows, gradient_, row == 0 ? ctx.gradients : GradientWrite::kAdd);
    linear_input_gradient(ctx.backend, z, weight_, dx.slice(0, row, count));
  }
}

}  // namespace retain
