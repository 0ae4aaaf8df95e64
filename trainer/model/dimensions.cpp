#include "trainer/model/dimensions.h"

#include <algorithm>

#include "kernels/retention_plan.h"
#include "parallel/shard.h"
#include "trainer/model/parameter_layout.h"
#include "trainer/model/retention_tables.h"

namespace retain {

namespace {

// Logits are computed for so many rows at once that they take at most this much memory.
constexpr int64_t kLogitsBytes = int64_t{1} << 30;
// On the CPU a chunk of logits should stay in the cache.
constexpr int64_t kLogitsRowsMultiple = 128;

}  // namespace

Dimensions::Dimensions(const ModelConfig& model_in, const BatchShape& batch_in, DType compute_in, int tp_rank,
                       int tp_size_in, int64_t wanted_chunk, Device device)
    : model(model_in),
      batch(batch_in),
      compute(compute_in),
      tp_size(tp_size_in),
      key_dim(model_in.key_dim()),
      value_dim(model_in.value_dim()) {
  const Range head_range = even_shard(model.heads, tp_rank, tp_size);
  heads = head_range.size();
  first_head = head_range.begin;
  ffn_size = even_shard(model.ffn_size, tp_rank, tp_size).size();
  vocab_rows = retain::vocab_rows(model, tp_size);
  vocab = {std::min(model.vocab_size, vocab_rows * tp_rank), std::min(model.vocab_size, vocab_rows * (tp_rank + 1))};
  // Of the whole model's heads: all ranks choose alike.
  const std::vector<double> decays = log2_gammas(model.decay, model.heads, 0, model.heads);
  const RetentionPlan retention = retention_plan({.device = device,
                                                  .key_dim = key_dim,
                                                  .value_dim = value_dim,
                                                  .least_log2_gamma = *std::min_element(decays.begin(), decays.end()),
                                                  .chunk = wanted_chunk});
  chunk = retention.chunk;
  fold_chunk = retention.fold_chunk;
  const int64_t most = kLogitsBytes / (vocab_rows * dtype_bytes(compute)) / kLogitsRowsMultiple * kLogitsRowsMultiple;
  logits_rows = std::min(rows(), std::max(kLogitsRowsMultiple, most));
}

WorkspaceShape Dimensions::workspace(int64_t parameters) const {
  return {.batch = batch.sequences,
          .tokens = batch.tokens,
          .hidden_size = model.hidden_size,
          .heads = heads,
          .key_dim = key_dim,
          .value_dim = value_dim,
          .ffn_size = ffn_size,
          .vocab = vocab_rows,
          .logits_rows = logits_rows,
          .parameters = parameters,
          .chunk = chunk,
          .compute = compute};
}

}  // namespace retain
