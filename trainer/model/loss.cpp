#include "trainer/model/loss.h"

#include <algorithm>

#include "trainer/model/embedding.h"
#include "trainer/model/linear.h"

namespace retain {

LossHead::LossHead(const Declarations& declare, const ModelConfig& model)
    : matrix_(model.tie_embeddings
                  ? declare.product_with(Embedding::kWeight)
                  : declare.matrix("lm_head.weight", TpCut::kVocabulary, model.vocab_size, model.hidden_size,
                                   scaling_of(model, WeightRole::kHead, model.hidden_size, model.vocab_size))) {}

void LossHead::take_scratch(Arena& arena, const Dimensions& dims) {
  scratch_.logits = arena.take(dims.compute, {dims.logits_rows, dims.vocab_rows});
  if (dims.tp_size > 1) {
    scratch_.statistics = arena.take(dims.accumulate(), {dims.logits_rows, 3});
    scratch_.gathered = arena.take(dims.accumulate(), {dims.tp_size, dims.logits_rows, 3});
  }
}

TensorView LossHead::logits(const Pass& pass, const TensorView& x) const {
  const TensorView out = scratch_.logits.slice(0, 0, x.shape[0]);
  linear(pass.backend, x, matrix_.weight, out);
  return out;
}

void LossHead::forward(const Pass& pass, const TensorView& x, const TensorView& loss) const {
  rows(pass, x, loss, {}, {}).wait();
}

RowExchange LossHead::forward_backward(const Pass& pass, const TensorView& x, const TensorView& loss,
                                       const TensorView& scale, const TensorView& dx) const {
  return rows(pass, x, loss, scale, dx);
}

RowExchange LossHead::rows(const Pass& pass, const TensorView& x, const TensorView& loss, const TensorView& scale,
                           const TensorView& dx) const {
  RowExchange reduced;
  const int64_t n = x.shape[0];
  const Range vocab = pass.dims.vocab;
  for (int64_t row = 0; row < n; row += pass.dims.logits_rows) {
    const int64_t count = std::min(pass.dims.logits_rows, n - row);
    const TensorView x_rows = x.slice(0, row, count);
    const TensorView targets = pass.batch.targets.slice(0, row, count);
    const TensorView z = logits(pass, x_rows);

    TensorView gathered;
    if (scratch_.statistics) {
      const TensorView mine = scratch_.statistics.slice(0, 0, count);
      pass.backend.cross_entropy_statistics(
          {.logits = z, .targets = targets, .statistics = mine, .first_column = vocab.begin, .valid = vocab.size()});
      gathered = TensorView(scratch_.gathered.data, scratch_.gathered.dtype, {pass.tp.size(), count, 3});
      pass.tp.gather(gathered, mine);
    }
    pass.backend.cross_entropy({.logits = z,
                                .targets = targets,
                                .gathered = gathered,
                                .loss = loss.slice(0, row, count),
                                .first_column = vocab.begin,
                                .valid = vocab.size(),
                                .scale = scale,
                                .gradient = static_cast<bool>(dx)});
    if (!dx) continue;
    // First what other ranks wait for.
    linear_input_gradient(pass.backend, z, matrix_.weight, dx.slice(0, row, count));
    const RowLayout& layout = pass.rows.layout();
    while (reduced.chunks() < layout.chunks() && layout.real(reduced.chunks()).end <= row + count)
      reduced.add(pass.rows.begin_reduce(dx, reduced.chunks()));
    linear_weight_gradient(pass.backend, z, x_rows, matrix_.gradient, row == 0 ? pass.gradients : GradientWrite::kAdd);
  }
  return reduced;
}

}  // namespace retain
