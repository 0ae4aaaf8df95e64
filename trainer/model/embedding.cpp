#include "trainer/model/embedding.h"

namespace retain {

Embedding::Embedding(const Declarations& declare, const ModelConfig& model) : normed_(model.embedding_norm) {
  table_ = declare.matrix(kWeight, TpCut::kVocabulary, model.vocab_size, model.hidden_size, model.init_std,
                          ParameterUse::kLookUp);
  if (normed_) norm_ = declare.norm("embedding_norm.weight", model.hidden_size);
}

void Embedding::take_saved(Arena& arena, const Dimensions& dims) {
  if (!normed_) return;
  saved_ = {.x = arena.take(dims.compute, {dims.rows(), dims.model.hidden_size}),
            .rstd = arena.take(dims.accumulate(), {dims.rows()})};
}

void Embedding::forward(const Pass& pass, const TensorView& x) const {
  const TensorView looked_up = normed_ ? saved_.x : x;
  pass.backend.embedding({.tokens = pass.batch.tokens,
                          .weight = table_.weight,
                          .x = looked_up,
                          .first_row = pass.dims.vocab.begin,
                          .scale = pass.dims.model.embedding_scale});
  pass.tp.all_reduce(looked_up);
  if (normed_) {
    pass.backend.rms_norm(
        {.x = saved_.x, .weight = norm_.weight, .y = x, .rstd = saved_.rstd, .eps = pass.dims.model.norm_eps});
  }
}

void Embedding::backward(const Pass& pass, const TensorView& dx) const {
  if (normed_) {
    pass.backend.rms_norm_backward(
        {.dy = dx, .x = saved_.x, .weight = norm_.weight, .rstd = saved_.rstd, .dx = dx, .dweight = norm_.gradient});
  }
  pass.backend.embedding_backward({.tokens = pass.batch.tokens,
                                   .token_order = pass.batch.token_order,
                                   .dx = dx,
                                   .dweight = table_.gradient,
                                   .first_row = pass.dims.vocab.begin,
                                   .scale = pass.dims.model.embedding_scale});
}

}  // namespace retain
