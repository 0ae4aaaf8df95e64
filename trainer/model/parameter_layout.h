// Which part of which tensor this rank holds and where it lies in the flat buffers: pure functions of the model.
//
// Flat order: [matrices, all cut over tp][norm weights, equal on all tp ranks][group norm weights, equal on all tp
// ranks, whose gradients are partial sums]. So "decayed", "cut over tp" and "to be summed over tp" are each one flat
// range.
#pragma once

#include <string>
#include <vector>

#include "parallel/shard.h"
#include "trainer/config.h"

namespace retain {

/// One parameter of this rank: a box of the whole tensor. Matrices are [out, in], row-major, so that y = x Wᵀ.
struct ParameterSpec {
  std::string name;                             ///< "layers.0.retention.q_proj.weight"
  int rank = 2;                                 ///< 1 for norm weights
  int64_t global_rows = 0, global_columns = 1;  ///< of the whole tensor, without padding
  int64_t first_row = 0, first_column = 0;      ///< where this rank's box begins
  int64_t rows = 0, columns = 1;                ///< held here, padding rows at the end included
  int64_t real_rows = 0;                        ///< rows that exist in the whole tensor; the others are padding
  int64_t flat_offset = 0;
  double init_std = 0;  ///< initial weights N(0, init_std); 0: all ones

  int64_t elements() const { return rows * columns; }
};

/// Where everything lies; a pure function of the model, the tensor-parallel place, and the number of replicas.
struct ParameterLayout {
  std::vector<ParameterSpec> parameters;
  Range matrices, norms, group_norms;  ///< flat ranges, in this order, covering everything
  int64_t flat_elements = 0;           ///< padded so that the replicas' slices are equal and aligned

  ParameterLayout() = default;
  ParameterLayout(const ModelConfig& model, int tp_rank, int tp_size, int replicas);
  const ParameterSpec& find(const std::string& name) const;
  bool has(const std::string& name) const;
};

/// Parameters of the whole model (spec.md section 3), and those of them that matrix products use
/// (everything but norms and the embedding look-up; a tied embedding counts as the head).
struct ParameterCounts {
  int64_t all = 0, matmul = 0;
};
ParameterCounts count_parameters(const ModelConfig& model);

/// Model FLOPs of one trained token: 6 N_matmul + 12 L hidden value_head_size (spec.md section 3).
double flops_per_token(const ModelConfig& model);

/// Rows of the vocabulary that one of `tp_size` ranks holds, padding included.
int64_t vocab_rows(const ModelConfig& model, int tp_size);

}  // namespace retain
