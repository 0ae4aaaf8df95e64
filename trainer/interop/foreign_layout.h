// The parameters of a RetNet as fla and torchscale name and lay them out, beside ours: pure tables, no file.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "trainer/config.h"

namespace retain {

enum class ForeignLayout : uint8_t { kFla, kTorchscale };

const char* foreign_layout_name(ForeignLayout layout);  ///< "fla", "torchscale"

/// One parameter under both names. The shape is the same on both sides; matrices are [out, in], row-major.
struct ForeignParameter {
  std::string name;          ///< ours: "layers.0.retention.q_proj.weight"
  std::string foreign_name;  ///< theirs: "model.layers.0.attn.q_proj.weight"
  std::vector<int64_t> shape;
  /// > 0: rows of each head's `head_rows` are in another order: interleaved pairs (2j, 2j+1) there, halves (j, j + K/2)
  /// here. 0: rows are in the same order.
  int64_t head_rows = 0;

  int64_t elements() const;
};

/// All parameters of a model in our order. With tied embeddings there is no lm_head.
std::vector<ForeignParameter> foreign_parameters(const ModelConfig& model, ForeignLayout layout);

/// How many entries that list has, without making it.
int64_t foreign_parameter_count(const ModelConfig& model);

/// Which row of theirs is row `row` of ours.
int64_t their_row(const ForeignParameter& parameter, int64_t row);

/// Tables that torchscale keeps in its checkpoints, by the end of their names, and what they hold of a model: by which
/// angle a position turns each of a head's columns, and ln γ of each head (torchscale retnet.py, RetNetRelPos).
inline constexpr const char *kTorchscaleAngles = "retnet_rel_pos.angle", *kTorchscaleDecays = "retnet_rel_pos.decay";
std::vector<double> torchscale_angles(const ModelConfig& model);
std::vector<double> torchscale_decays(const ModelConfig& model);

/// Values (a weight or its gradient) from their order of rows to ours, and back; each undoes the other.
std::vector<float> rows_to_ours(const ForeignParameter& parameter, std::vector<float> theirs);
std::vector<float> rows_to_theirs(const ForeignParameter& parameter, std::vector<float> ours);

}  // namespace retain
