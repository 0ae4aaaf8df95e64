#include "trainer/interop/model_import.h"

#include <algorithm>
#include <array>
#include <set>

#include "kernels/core/error.h"
#include "trainer/interop/model_config_json.h"

namespace retain {
namespace {

constexpr int64_t kMaxConfigBytes = 1 << 20;
constexpr std::string_view kFairseqPrefix = "decoder.";
constexpr std::string_view kFusedGroupNorm = ".attn.g_norm_swish_gate.weight", kPlainGroupNorm = ".attn.g_norm.weight";

[[noreturn]] void refuse(const std::string& path, const std::string& message) {
  throw Error(ErrorKind::kData, concat(path, ": ", message));
}

/// The names as this file spells them: fairseq puts "decoder." before torchscale's, fla without fused norms says
/// g_norm.
void adapt_names(std::vector<ForeignParameter>& parameters, const SafetensorsFile& weights) {
  for (ForeignParameter& parameter : parameters) {
    std::string& name = parameter.foreign_name;
    if (weights.contains(name)) continue;
    if (const std::string longer = concat(kFairseqPrefix, name); weights.contains(longer)) {
      name = longer;
    } else if (name.ends_with(kFusedGroupNorm)) {
      const std::string plain = name.substr(0, name.size() - kFusedGroupNorm.size()) + std::string(kPlainGroupNorm);
      if (weights.contains(plain)) name = plain;
    }
  }
}

/// Tensors that hold nothing that is not in config.json.
bool is_buffer(std::string_view name) {
  return name.ends_with("retnet_rel_pos.angle") || name.ends_with("retnet_rel_pos.decay") ||
         name.ends_with("rotary.inv_freq") || name == "decoder.version";
}

/// With tied embeddings some writers store the output matrix too; it must then be the embedding.
bool is_tied_copy(const ModelConfig& model, std::string_view name, const ForeignParameter& embedding,
                  const SafetensorsFile& weights) {
  if (!model.tie_embeddings) return false;
  if (!name.ends_with("output_projection.weight") && name != "lm_head.weight") return false;
  return weights.entry(name).dtype == weights.entry(embedding.foreign_name).dtype &&
         weights.read_bytes(name) == weights.read_bytes(embedding.foreign_name);
}

void check_tensor(const SafetensorsFile& file, const std::string& name, const ForeignParameter& parameter) {
  const SafetensorsEntry& entry = file.entry(name);
  if (entry.shape != parameter.shape) {
    SafetensorsEntry want = entry;
    want.shape = parameter.shape;
    refuse(file.path(),
           concat("tensor '", name, "' is ", entry.describe(), ", the configuration asks for ", want.describe()));
  }
  constexpr auto kFloats = std::to_array<std::string_view>({"F32", "F64", "F16", "BF16"});
  if (std::find(kFloats.begin(), kFloats.end(), entry.dtype) == kFloats.end()) {
    refuse(file.path(), concat("tensor '", name, "' is ", entry.describe(), ", want F32, F64, F16 or BF16"));
  }
}

}  // namespace

const ForeignParameter& ImportedModel::parameter(std::string_view name) const {
  const auto found =
      std::find_if(parameters_.begin(), parameters_.end(), [&](const ForeignParameter& p) { return p.name == name; });
  RETAIN_CHECK(found != parameters_.end(), "the model has no parameter '", name, "'");
  return *found;
}

std::vector<float> ImportedModel::read(std::string_view name) const { return read_as_ours(weights_, parameter(name)); }

ImportedModel read_model_folder(const std::string& folder) {
  const std::string config_path = folder + "/config.json";
  const ForeignConfig config =
      parse_foreign_config(read_text(File::open_given(config_path), kMaxConfigBytes), config_path);
  SafetensorsFile weights(folder + "/model.safetensors");

  // Before the list is made: a configuration with 2^31 layers must cost nothing.
  const auto tensors = static_cast<int64_t>(weights.entries().size());
  if (const int64_t want = foreign_parameter_count(config.model); want > tensors) {
    refuse(weights.path(),
           concat("holds ", tensors, " tensors, the configuration (", foreign_layout_name(config.layout), ", ",
                  config.model.layers, " layers) asks for ", want));
  }
  std::vector<ForeignParameter> parameters = foreign_parameters(config.model, config.layout);
  adapt_names(parameters, weights);
  std::set<std::string_view> wanted;
  for (const ForeignParameter& parameter : parameters) {
    check_tensor(weights, parameter.foreign_name, parameter);
    wanted.insert(parameter.foreign_name);
  }
  for (const SafetensorsEntry& entry : weights.entries()) {
    if (wanted.contains(entry.name) || is_buffer(entry.name)) continue;
    if (is_tied_copy(config.model, entry.name, parameters.front(), weights)) continue;
    refuse(weights.path(), concat("tensor '", entry.name, "' is none of the configuration's (",
                                  foreign_layout_name(config.layout), ")"));
  }
  return {config.model, config.layout, std::move(parameters), std::move(weights)};
}

std::vector<float> read_as_ours(const SafetensorsFile& file, const ForeignParameter& parameter,
                                const std::string& prefix) {
  const std::string name = prefix + parameter.foreign_name;
  check_tensor(file, name, parameter);
  return rows_to_ours(parameter, file.read_float(name));
}

}  // namespace retain
