#include "trainer/model/scaling.h"

#include <cmath>

namespace retain {

namespace {

bool is_hidden(WeightRole role) { return role != WeightRole::kEmbedding && role != WeightRole::kHead; }

double xavier_std(double gain, int64_t fan_in, int64_t fan_out) {
  return gain * std::sqrt(2.0 / static_cast<double>(fan_in + fan_out));
}

double torchscale_std(WeightRole role, int64_t fan_in, int64_t fan_out, double base_width) {
  switch (role) {
    case WeightRole::kRetentionIn: return xavier_std(std::exp2(-2.5), fan_in, fan_out);
    case WeightRole::kRetentionOut: return xavier_std(0.5, fan_in, fan_out);
    case WeightRole::kFfnIn:
    case WeightRole::kFfnOut: return 1 / std::sqrt(3.0 * static_cast<double>(fan_in));
    case WeightRole::kEmbedding:
    case WeightRole::kHead: break;
  }
  return 1 / std::sqrt(base_width);
}

double normal_std(const ModelConfig& model, WeightRole role) {
  const bool adds = role == WeightRole::kRetentionOut || role == WeightRole::kFfnOut;
  if (model.init != Init::kDepthScaled || !adds) return model.init_std;
  return model.init_std / std::sqrt(2.0 * static_cast<double>(model.layers));
}

}  // namespace

Scaling scaling_of(const ModelConfig& model, WeightRole role, int64_t fan_in, int64_t fan_out) {
  const double m = model.width_ratio();
  Scaling scaling;
  if (model.base_width > 0 && is_hidden(role)) scaling.group = UpdateGroup::kHidden;
  if (model.init == Init::kTorchscale) {  // whose fans make hidden ones fall with the width by themselves
    scaling.init_std = torchscale_std(role, fan_in, fan_out, static_cast<double>(model.hidden_size) / m);
  } else {
    scaling.init_std = normal_std(model, role);
    if (scaling.group == UpdateGroup::kHidden) scaling.init_std /= std::sqrt(m);
  }
  return scaling;
}

Scaling logits_scaling(const ModelConfig& model) {
  if (model.base_width == 0) return {};
  return {.init_value = 1 / model.width_ratio(), .group = UpdateGroup::kLogits};
}

UpdateFactors update_factors(const ModelConfig& model, UpdateGroup group) {
  const double m = model.width_ratio();
  switch (group) {
    case UpdateGroup::kInput: return {.eps = 1 / m};
    case UpdateGroup::kHidden: return {.rate = 1 / m, .decay = m, .eps = 1 / m};
    case UpdateGroup::kLogits: return {.rate = 1 / m};
  }
  return {};
}

}  // namespace retain
