#include "trainer/model/feed_forward.h"

#include "trainer/model/linear.h"

namespace retain {

namespace {

TensorView activated(const TensorView& ab, const Dimensions& dims) { return ab.slice(1, 0, dims.ffn_size); }
TensorView linear_branch(const TensorView& ab, const Dimensions& dims) {
  return dims.model.ffn == FfnKind::kGelu ? TensorView{} : ab.slice(1, dims.ffn_size, dims.ffn_size);
}

}  // namespace

FeedForward::Saved FeedForward::take_saved(Arena& arena, const Dimensions& dims) {
  return {.ab = arena.take(dims.compute, {dims.rows(), dims.ffn_columns()}),
          .h = arena.take(dims.compute, {dims.rows(), dims.ffn_size})};
}

FeedForward::Scratch FeedForward::take_scratch(Arena& arena, const Dimensions& dims, Residency residency) {
  if (residency == Residency::kInference) return {};
  return {.dab = arena.take(dims.compute, {dims.rows(), dims.ffn_columns()}),
          .dh = arena.take(dims.compute, {dims.rows(), dims.ffn_size})};
}

FeedForward::FeedForward(const ParameterStore& parameters, const ModelConfig& model, int64_t layer,
                         Residency residency) {
  const std::string prefix = "layers." + std::to_string(layer) + ".ffn.";
  const std::string first = prefix + (model.ffn == FfnKind::kGelu ? "up_proj.weight" : "gate_proj.weight");
  const std::string last = prefix + "up_proj.weight", down = prefix + "down_proj.weight";
  in_weight_ = parameters.fused_weight(first, last);
  down_weight_ = parameters.weight(down);
  if (residency == Residency::kInference) return;
  in_gradient_ = parameters.fused_gradient(first, last);
  down_gradient_ = parameters.gradient(down);
}

void FeedForward::forward(const Context& ctx, const TensorView& u, const TensorView& f, const Saved& saved) const {
  linear(ctx.backend, u, in_weight_, saved.ab);
  ctx.backend.ffn_activation({.kind = ctx.dims.model.ffn,
                              .a = activated(saved.ab, ctx.dims),
                              .b = linear_branch(saved.ab, ctx.dims),
                              .h = saved.h});
  linear(ctx.backend, saved.h, down_weight_, f);
  ctx.tp.all_reduce(f);
}

void FeedForward::backward(const Context& ctx, const TensorView& df, const TensorView& u, const Saved& saved,
                           const Scratch& scratch, const TensorView& du) const {
  linear_weight_gradient(ctx.backend, df, saved.h, down_gradient_, ctx.gradients);
  linear_input_gradient(ctx.backend, df, down_weight_, scratch.dh);
  ctx.backend.ffn_activation_backward({.kind = ctx.dims.model.ffn,
                                       .dh = scratch.dh,
                                       .a = activated(saved.ab, ctx.dims),
                                       .b = linear_branch(saved.ab, ctx.dims),
                                       .da = activated(scratch.dab, ctx.dims),
                                       .db = linear_branch(scratch.dab, ctx.dims)});
  linear_weight_gradient(ctx.backend, scratch.dab, u, in_gradient_, ctx.gradients);
  linear_input_gradient(ctx.backend, scratch.dab, in_weight_, du);
  ctx.tp.all_reduce(du);
}

}  // namespace retain
