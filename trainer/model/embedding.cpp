#include "trainer/model/embedding.h"

namespace retain {

Embedding::Saved Embedding::take_saved(Arena& arena, const Dimensions& dims) {
  if (!dims.model.embedding_norm) return {};
  return {.x = arena.take(dims.compute, {dims.rows(), dims.model.hidden_size}),
          .rstd = arena.take(dims.accumulate(), {dims.rows()})};
}

Embedding::Embedding(const ParameterStore& parameters, const ModelConfig& model, Residency residency) {
  weight_ = parameters.weight("embeddings.weight");
  if (model.embedding_norm) norm_weight_ = parameters.norm_weight("embedding_norm.weight");
  if (residency == Residency::kInference) return;
  gradient_ = parameters.gradient("embeddings.weight");
  if (model.embedding_norm) norm_gradient_ = parameters.gradient("embedding_norm.weight");
}

void Embedding::forward(const Context& ctx, const TensorView& x, const Saved& saved) const {
  const TensorView looked_up = norm_weight_ ? saved.x : x;
  ctx.backend.embedding({.tokens = ctx.batch.tokens,
                         .weight = weight_,
                         .x = looked_up,
                         .first_row = ctx.dims.vocab.begin,
                         .scale = ctx.dims.model.embedding_scale});
  ctx.tp.all_reduce(looked_up);
  if (norm_weight_) {
    ctx.backend.rms_norm(
        {.x = saved.x, .weight = norm_weight_, .y = x, .rstd = saved.rstd, .eps = ctx.dims.model.norm_eps});
  }
}

void Embedding::backward(const Context& ctx, const Saved& saved, const TensorView& dx) const {
  if (norm_weight_) {
    ctx.backend.rms_norm_backward(
        {.dy = dx, .x = saved.x, .weight = norm_weight_, .rstd = saved.rstd, .dx = dx, .dweight = norm_gradient_});
  }
  ctx.backend.embedding_backward({.tokens = ctx.batch.tokens,
                                  .token_order = ctx.batch.token_order,
                                  .dx = dx,
                                  .dweight = gradient_,
                                  .first_row = ctx.dims.vocab.begin,
                                  .scale = ctx.dims.model.embedding_scale});
}

}  // namespace retain
