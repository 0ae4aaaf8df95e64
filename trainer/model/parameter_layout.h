// What the layers of a model declare (declarations.h), and what follows from it by pure functions: which part of which
// tensor a rank holds, where it lies in the flat buffers, and what a token costs.
//
// Flat order: [matrices, all cut over tp][norm weights][group norm weights]. Norms are equal on all tp ranks, and each
// rank's gradient of them, of its rows or its heads, is a partial sum. So "decayed", "cut over tp" and "to be summed
// over tp" are each one flat range. The matrices lie part by part of the model from its end to its beginning, in the
// order in which backward has completed their gradients: what backward has done is everything before one flat offset,
// and what the next forward needs is everything from one on.
#pragma once

#include <string>
#include <vector>

#include "parallel/shard.h"
#include "trainer/config.h"
#include "trainer/model/scaling.h"

namespace retain {

enum class ParameterUse : uint8_t {
  kLookUp,     ///< a matrix of which rows are read
  kProduct,    ///< a matrix of products: 6 FLOPs an element and trained token
  kNorm,       ///< a norm's weight, equal on all tp ranks; the gradient on each of them is a partial sum
  kGroupNorm,  ///< likewise, of the norm of heads
};

/// How a matrix [rows, columns] is cut over tp. The rows of a vocabulary need not divide: they are padded.
enum class TpCut : uint8_t { kNone, kRows, kColumns, kVocabulary };

/// A whole parameter, without padding.
struct DeclaredParameter {
  std::string name;  ///< "layers.0.retention.q_proj.weight"
  ParameterUse use = ParameterUse::kProduct;
  TpCut cut = TpCut::kNone;
  int64_t part = 0;     ///< of the model, in the order of forward: the embedding, block by block, the head
  bool shared = false;  ///< a later part uses the matrix too: backward writes its gradient from there on
  int64_t rows = 0, columns = 1;
  Scaling scaling;
  bool adjacent = false;  ///< to the one before, which it is read together with

  bool is_matrix() const { return use == ParameterUse::kLookUp || use == ParameterUse::kProduct; }
};

struct DeclaredModel {
  std::vector<DeclaredParameter> parameters;  ///< in the order of declaration
  double mixer_flops = 0;                     ///< of one trained token: what mixers compute beside matrix products
};

/// One parameter of this rank: a box of the whole tensor. Matrices are [out, in], row-major, so that y = x Wᵀ.
struct ParameterSpec {
  std::string name;                             ///< "layers.0.retention.q_proj.weight"
  int rank = 2;                                 ///< 1 for norm weights
  int64_t global_rows = 0, global_columns = 1;  ///< of the whole tensor, without padding
  int64_t first_row = 0, first_column = 0;      ///< where this rank's box begins
  int64_t rows = 0, columns = 1;                ///< held here, padding rows at the end included
  int64_t real_rows = 0;                        ///< rows that exist in the whole tensor; the others are padding
  int64_t flat_offset = 0;
  Scaling scaling;

  int64_t elements() const { return rows * columns; }
};

/// A bucket is closed with the part of the model that makes it this large: 16 MiB of gradients in float32. A layer of a
/// model of 100 million parameters is one, so that all but the first of its layers hide an exchange; what an exchange
/// costs whatever its size is then a fifth of it (on two H200s a reduce-scatter takes 21 us for 1 MB, 43 for 8, 174 for
/// 64). Smaller models have little to hide: theirs is one bucket.
inline constexpr int64_t kBucketElements = int64_t{4} << 20;

/// A flat range that is updated in one way.
struct UpdateRange {
  Range flat;
  UpdateGroup group = UpdateGroup::kInput;
  bool decays = false;  ///< matrices do, norm weights do not
};

/// Where everything lies; a pure function of what is declared, the tensor-parallel place, and the number of replicas.
struct ParameterLayout {
  std::vector<ParameterSpec> parameters;  ///< in the order of declaration, matrices before norms
  Range matrices, norms, group_norms;     ///< flat ranges, in this order, covering everything
  int64_t flat_elements = 0;
  /// Of the matrices of each part of the model: of the last part first. Empty where a part has none of its own.
  std::vector<Range> parts;
  /// What replicas exchange at once: flat ranges, in order, covering everything, of sizes that the replicas divide into
  /// aligned shares. Each holds whole parts; the last holds the norms.
  std::vector<Range> buckets;
  /// The first so many buckets are written in backward only after the bucket before is complete. The others, of shared
  /// matrices and of norms, are written in many places.
  size_t passing_buckets = 0;
  std::vector<UpdateRange> updates;  ///< in order, covering everything

  ParameterLayout() = default;
  ParameterLayout(const DeclaredModel& declared, int tp_rank, int tp_size, int replicas,
                  int64_t bucket_elements = kBucketElements);
  ParameterLayout(const ModelConfig& model, int tp_rank, int tp_size, int replicas,
                  int64_t bucket_elements = kBucketElements);
  const ParameterSpec& find(const std::string& name) const;
};

/// Parameters of the whole model (trainer/README.md#parameters-and-flops), and those of them that matrix products use
/// (everything but norms and the embedding look-up; a tied embedding counts as the head).
struct ParameterCounts {
  int64_t all = 0, matmul = 0;
};
ParameterCounts count_parameters(const ModelConfig& model);

/// Model FLOPs of one trained token: 6 N_matmul + 12 L hidden value_head_size (trainer/README.md#parameters-and-flops).
double flops_per_token(const ModelConfig& model);

/// Rows of the vocabulary that one of `tp_size` ranks holds, padding included.
int64_t vocab_rows(const ModelConfig& model, int tp_size);

}  // namespace retain
