// The sizes one rank's layers work with, from the model's configuration, the tensor-parallel place and the batch shape.
#pragma once

#include "kernels/backend.h"
#include "parallel/row_layout.h"
#include "trainer/config.h"
#include "trainer/model/batch.h"

namespace retain {

struct Dimensions {
  ModelConfig model;
  BatchShape batch;
  DType compute = DType::kFloat32;
  int tp_size = 1;
  int64_t heads = 1, first_head = 0;   ///< on this rank
  int64_t key_dim = 1, value_dim = 1;  ///< of one head
  int64_t ffn_size = 1;                ///< on this rank
  int64_t vocab_rows = 1;              ///< on this rank, with padding
  Range vocab;                         ///< real rows on this rank
  int64_t chunk = 0;                   ///< C of chunkwise retention
  int64_t fold_chunk = 0;              ///< C where rotation folds the decay, else 0
  int64_t logits_rows = 1;             ///< rows of logits computed at once
  Recompute recompute = Recompute::kNone;
  int64_t tp_chunks = 1;  ///< of rows, that the ranks of tp exchange one by one

  /// `wanted_chunk`: 0 leaves it to the device; see retention_plan.h for when another is taken.
  Dimensions(const ModelConfig& model, const BatchShape& batch, DType compute, int tp_rank, int tp_size,
             int64_t wanted_chunk, Device device);

  DType accumulate() const { return accumulate_of(compute); }
  int64_t rows() const { return batch.rows(); }
  /// Of an activation that the ranks of tp exchange, and of one of which each holds its own rows (row_layout.h).
  int64_t padded_rows() const { return RowLayout::padded_rows(rows(), tp_size); }
  int64_t own_rows() const { return padded_rows() / tp_size; }
  int64_t keys() const { return heads * key_dim; }
  int64_t values() const { return heads * value_dim; }
  int64_t qkvg_columns() const { return 2 * keys() + 2 * values(); }
  /// gate and up side by side; up alone for the two-matrix FFN.
  int64_t ffn_columns() const { return model.ffn == FfnKind::kGelu ? ffn_size : 2 * ffn_size; }
  int64_t chunks() const { return (batch.tokens + chunk - 1) / chunk; }

  /// What the backend's scratch must serve; `parameters` is the flat size of this rank's parameters.
  WorkspaceShape workspace(int64_t parameters) const;
};

}  // namespace retain
