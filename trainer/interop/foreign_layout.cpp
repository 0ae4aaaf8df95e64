#include "trainer/interop/foreign_layout.h"

#include <algorithm>
#include <array>
#include <numbers>

#include "kernels/core/error.h"
#include "trainer/model/retention_tables.h"
#include "trainer/model/retnet.h"

namespace retain {
namespace {

// The names between "layers.N.", where a layer has it, and ".weight".
struct Translation {
  std::string_view ours, fla, torchscale;
  bool interleaved = false;  ///< in torchscale
};

constexpr auto kTranslations = std::to_array<Translation>({
    {"embeddings", "model.embeddings", "embed_tokens"},
    {"embedding_norm", "model.embedding_norm", "layernorm_embedding"},
    {"retention_norm", "attn_norm", "retention_layer_norm"},
    {"retention.q_proj", "attn.q_proj", "retention.q_proj", true},
    {"retention.k_proj", "attn.k_proj", "retention.k_proj", true},
    {"retention.v_proj", "attn.v_proj", "retention.v_proj"},
    {"retention.g_proj", "attn.g_proj", "retention.g_proj"},
    {"retention.o_proj", "attn.o_proj", "retention.out_proj"},
    {"retention.group_norm", "attn.g_norm_swish_gate", "retention.group_norm"},
    {"ffn_norm", "mlp_norm", "final_layer_norm"},
    // torchscale: fc1 is the activated branch, and "gate" the linear one.
    {"ffn.gate_proj", "mlp.gate_proj", "ffn.fc1"},
    {"ffn.up_proj", "mlp.up_proj", "ffn.gate"},
    {"ffn.down_proj", "mlp.down_proj", "ffn.fc2"},
    {"final_norm", "model.norm", "layer_norm"},
    {"lm_head", "lm_head", "output_projection"},
});

template <class Place>
std::vector<float> permute_rows(const ForeignParameter& parameter, const std::vector<float>& from, Place place) {
  const int64_t rows = parameter.shape.at(0), columns = parameter.elements() / rows;
  std::vector<float> to(from.size());
  for (int64_t row = 0; row < rows; ++row) {
    const auto [target, source] = place(row, their_row(parameter, row));
    std::copy_n(from.begin() + source * columns, columns, to.begin() + target * columns);
  }
  return to;
}

void check_size(const ForeignParameter& parameter, const std::vector<float>& values) {
  RETAIN_CHECK(static_cast<int64_t>(values.size()) == parameter.elements(), parameter.name, ": got ", values.size(),
               " values, want ", parameter.elements());
}

}  // namespace

const char* foreign_layout_name(ForeignLayout layout) { return layout == ForeignLayout::kFla ? "fla" : "torchscale"; }

int64_t ForeignParameter::elements() const {
  int64_t count = 1;
  for (const int64_t extent : shape) count *= extent;
  return count;
}

std::vector<ForeignParameter> foreign_parameters(const ModelConfig& model, ForeignLayout layout) {
  constexpr std::string_view kWeight = ".weight";
  const bool fla = layout == ForeignLayout::kFla;
  std::vector<ForeignParameter> list;
  for (const DeclaredParameter& declared : RetNet::declare(model).parameters) {
    const std::string_view name = std::string_view(declared.name).substr(0, declared.name.size() - kWeight.size());
    const auto known = std::find_if(kTranslations.begin(), kTranslations.end(),
                                    [&](const Translation& translation) { return name.ends_with(translation.ours); });
    RETAIN_CHECK(known != kTranslations.end(), "no foreign name of ", name);
    const std::string_view prefix = name.substr(0, name.size() - known->ours.size());
    std::string_view theirs = fla ? known->fla : known->torchscale;
    // Without a gate the only branch is the activated one.
    if (model.ffn == FfnKind::kGelu && theirs == "ffn.gate") theirs = "ffn.fc1";
    list.push_back({.name = declared.name,
                    .foreign_name = concat(fla && !prefix.empty() ? "model." : "", prefix, theirs, kWeight),
                    .shape = {declared.rows},
                    .head_rows = !fla && known->interleaved ? model.key_dim() : 0});
    if (declared.is_matrix()) list.back().shape.push_back(declared.columns);
  }
  return list;
}

int64_t foreign_parameter_count(const ModelConfig& model) {
  const auto count = [&](int64_t layers) {
    ModelConfig few = model;
    few.layers = layers;
    return static_cast<int64_t>(RetNet::declare(few).parameters.size());
  };
  return count(0) + model.layers * (count(1) - count(0));
}

int64_t their_row(const ForeignParameter& parameter, int64_t row) {
  const int64_t rows = parameter.head_rows;
  if (rows == 0) return row;
  const int64_t in_head = row % rows;  // halves
  return row - in_head + (in_head < rows / 2 ? 2 * in_head : 2 * (in_head - rows / 2) + 1);
}

std::vector<double> torchscale_angles(const ModelConfig& model) {
  std::vector<double> angles;
  for (const double frequency : rotation_frequencies(Rotary::kTorchscale, model.key_dim()))
    angles.insert(angles.end(), 2, frequency);
  return angles;
}

std::vector<double> torchscale_decays(const ModelConfig& model) {
  std::vector<double> decays = log2_gammas(Decay::kEq8, model.heads, 0, model.heads);
  for (double& decay : decays) decay *= std::numbers::ln2;
  return decays;
}

std::vector<float> rows_to_ours(const ForeignParameter& parameter, std::vector<float> theirs) {
  check_size(parameter, theirs);
  if (parameter.head_rows == 0) return theirs;
  return permute_rows(parameter, theirs, [](int64_t row, int64_t other) { return std::pair(row, other); });
}

std::vector<float> rows_to_theirs(const ForeignParameter& parameter, std::vector<float> ours) {
  check_size(parameter, ours);
  if (parameter.head_rows == 0) return ours;
  return permute_rows(parameter, ours, [](int64_t row, int64_t other) { return std::pair(other, row); });
}

}  // namespace retain
