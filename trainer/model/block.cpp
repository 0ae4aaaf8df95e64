#include "trainer/model/block.h"

namespace retain {

Block::Saved Block::take_saved(Arena& arena, const Dimensions& dims, Residency residency) {
  const int64_t n = dims.rows(), d = dims.model.hidden_size;
  Saved saved;
  saved.x = arena.take(dims.compute, {n, d});
  saved.u = arena.take(dims.compute, {n, d});
  saved.x_mid = arena.take(dims.compute, {n, d});
  saved.u_mid = arena.take(dims.compute, {n, d});
  saved.rstd = arena.take(dims.accumulate(), {n});
  saved.rstd_mid = arena.take(dims.accumulate(), {n});
  saved.retention = RetentionLayer::take_saved(arena, dims, residency);
  saved.ffn = FeedForward::take_saved(arena, dims);
  return saved;
}

Block::Scratch Block::take_scratch(Arena& arena, const Dimensions& dims, Residency residency) {
  const int64_t n = dims.rows(), d = dims.model.hidden_size;
  Scratch scratch;
  scratch.branch = arena.take(dims.compute, {n, d});
  if (residency == Residency::kTraining) scratch.du = arena.take(dims.compute, {n, d});
  // Retention and FFN are never at work at the same time: they share memory.
  const int64_t mark = arena.mark();
  scratch.retention = RetentionLayer::take_scratch(arena, dims, residency);
  const int64_t retention_end = arena.mark();
  arena.rewind(mark);
  scratch.ffn = FeedForward::take_scratch(arena, dims, residency);
  if (arena.mark() < retention_end) arena.rewind(retention_end);
  return scratch;
}

Block::Block(const ParameterStore& parameters, const ModelConfig& model, int64_t layer, Residency residency)
    : retention_(parameters, layer, residency), ffn_(parameters, model, layer, residency) {
  const std::string prefix = "layers." + std::to_string(layer) + ".";
  norm_weight_ = parameters.norm_weight(prefix + "retention_norm.weight");
  ffn_norm_weight_ = parameters.norm_weight(prefix + "ffn_norm.weight");
  if (residency == Residency::kInference) return;
  norm_gradient_ = parameters.gradient(prefix + "retention_norm.weight");
  ffn_norm_gradient_ = parameters.gradient(prefix + "ffn_norm.weight");
}

void Block::forward(const Context& ctx, const TensorView& stream, const TensorView& branch, Saved& saved,
                    const Scratch& scratch) const {
  const double eps = ctx.dims.model.norm_eps;
  if (!branch) ctx.backend.copy(saved.x, stream);
  ctx.backend.rms_norm({.x = branch ? stream : saved.x,
                        .residual = branch,
                        .weight = norm_weight_,
                        .sum = branch ? saved.x : TensorView{},
                        .y = saved.u,
                        .rstd = saved.rstd,
                        .eps = eps});
  retention_.forward(ctx, saved.u, scratch.branch, saved.retention, scratch.retention);

  ctx.backend.rms_norm({.x = saved.x,
                        .residual = scratch.branch,
                        .weight = ffn_norm_weight_,
                        .sum = saved.x_mid,
                        .y = saved.u_mid,
                        .rstd = saved.rstd_mid,
                        .eps = eps});
  ffn_.forward(ctx, saved.u_mid, scratch.branch, saved.ffn);
}

void Block::backward(const Context& ctx, const Saved& saved, const Scratch& scratch, const TensorView& dx) const {
  ffn_.backward(ctx, dx, saved.u_mid, saved.ffn, scratch.ffn, scratch.du);
  ctx.backend.rms_norm_backward({.dy = scratch.du,
                                 .x = saved.x_mid,
                                 .weight = ffn_norm_weight_,
                                 .rstd = saved.rstd_mid,
                                 .dresidual = dx,
                                 .dx = dx,
                                 .dweight = ffn_norm_gradient_});

  retention_.backward(ctx, dx, saved.u, saved.retention, scratch.retention, scratch.du);
  ctx.backend.rms_norm_backward({.dy = scratch.du,
                                 .x = saved.x,
                                 .weight = norm_weight_,
                                 .rstd = saved.rstd,
                                 .dresidual = dx,
                                 .dx = dx,
                                 .dweight = norm_gradient_});
}

}  // namespace retain
