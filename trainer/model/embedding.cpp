#include "trainer/model/embedding.h"

namespace retain {

Embedding::Embedding(const Declarations& declare, const ModelConfig& model) : normed_(model.embedding_norm) {
  table_ = declare.matrix(kWeight, TpCut::kVocabulary, model.vocab_size, model.hidden_size,
                          scaling_of(model, WeightRole::kEmbedding, model.vocab_size, model.hidden_size),
                          ParameterUse::kLookUp);
  if (normed_) norm_ = declare.norm("embedding_norm.weight", model.hidden_size);
}

void Embedding::take_saved(Arena& arena, const Dimensions& dims) {
  if (!normed_) return;
  saved_ = {.x = arena.take(dims.compute, {dims.padded_rows(), dims.model.hidden_size}),
            .rstd = arena.take(dims.accumulate(), {dims.own_rows()})};
}

std::vector<RowStage> Embedding::forward(const Pass& pass, const TensorView& x) const {
  std::vector<RowStage> stages = {[&pass, x, this](int64_t chunk) {
    const TensorView looked_up = normed_ ? saved_.x : x;
    pass.backend.embedding({.tokens = pass.rows.real(pass.batch.tokens, chunk),
                            .weight = table_.weight,
                            .x = pass.rows.real(looked_up, chunk),
                            .first_row = pass.dims.vocab.begin,
                            .scale = pass.dims.model.embedding_scale});
    return pass.rows.begin_reduce(looked_up, chunk);
  }};
  if (!normed_) return stages;
  stages.push_back([&pass, x, this](int64_t chunk) {
    pass.backend.rms_norm({.x = pass.rows.own(saved_.x, chunk),
                           .weight = norm_.weight,
                           .y = pass.rows.own(x, chunk),
                           .rstd = pass.rows.held(saved_.rstd, chunk),
                           .eps = pass.dims.model.norm_eps});
    return Pending{};
  });
  return stages;
}

void Embedding::norm_backward(const Pass& pass, const TensorView& dx) const {
  const auto of_chunk = [&](int64_t chunk) {
    const TensorView own = pass.rows.own(dx, chunk);
    pass.backend.rms_norm_backward({.dy = own,
                                    .x = pass.rows.own(saved_.x, chunk),
                                    .weight = norm_.weight,
                                    .rstd = pass.rows.held(saved_.rstd, chunk),
                                    .dx = own,
                                    .dweight = norm_.gradient});
    return pass.rows.begin_gather(dx, chunk);
  };
  pass.rows.run(std::vector<RowStage>{of_chunk});
}

void Embedding::backward(const Pass& pass, const TensorView& dx) const {
  if (normed_) norm_backward(pass, dx);
  pass.backend.embedding_backward({.tokens = pass.batch.tokens,
                                   .token_order = pass.batch.token_order,
                                   .dx = pass.rows.real(dx),
                                   .dweight = table_.gradient,
                                   .first_row = pass.dims.vocab.begin,
                                   .scale = pass.dims.model.embedding_scale});
}

}  // namespace retain
