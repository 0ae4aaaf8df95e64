// How a weight begins and how it is updated: by model.init, and by model.base_width as a function of the width.
#pragma once

#include <cstddef>
#include <cstdint>

#include "trainer/config.h"

namespace retain {

/// What a matrix does in the model.
enum class WeightRole : uint8_t { kEmbedding, kRetentionIn, kRetentionOut, kFfnIn, kFfnOut, kHead };

/// What learning rate, weight decay and epsilon of the update depend on (update_factors()).
enum class UpdateGroup : uint8_t {
  kInput,   ///< what has no width to sum over, and everything where there is no model.base_width
  kHidden,  ///< matrices of products inside the blocks
  kLogits,  ///< the final norm's weight, which scales the logits
};
inline constexpr size_t kUpdateGroups = 3;

struct Scaling {
  double init_std = 0;    ///< initial weights N(0, init_std); 0: all are init_value
  double init_value = 1;  ///< a norm's
  UpdateGroup group = UpdateGroup::kInput;
};

/// Of a matrix that sums over fan_in values. model.init, with L layers:
///   normal        init_std everywhere (fla)
///   depth_scaled  the same, but init_std / √(2L) of the two matrices of a block that add to the stream (GPT-2)
///   torchscale    the standard deviations of the code of the RetNet paper (microsoft/torchscale 4d1e0e8,
///                 multiscale_retention.py, gate_linear_unit.py, retnet.py): Xavier's with gain 2^-5/2 of q, k, v, g
///                 and 1/2 of the output, 1/√(3 fan_in) in the FFN, d^-1/2 of embedding and head. It draws most of them
///                 evenly from an interval, we draw all from a normal distribution
/// With model.base_width and m = hidden_size / base_width they are those of the model at base_width, and of hidden
/// matrices 1/√m of those (arXiv 2203.03466, table 8; arXiv 2505.01618, table 1).
Scaling scaling_of(const ModelConfig& model, WeightRole role, int64_t fan_in, int64_t fan_out);

/// Of the final norm's weight: with base_width it begins as 1/m, which is the factor 1/m on the logits.
Scaling logits_scaling(const ModelConfig& model);

/// Factors on what the optimizer's configuration says. The tables above for AdamW; kLogits is what a factor 1/m on the
/// logits before a weight of 1 comes to when the weight itself is 1/m.
struct UpdateFactors {
  double rate = 1, decay = 1, eps = 1;
};
UpdateFactors update_factors(const ModelConfig& model, UpdateGroup group);

}  // namespace retain
