#include "trainer/interop/model_import.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <set>
#include <span>

#include "kernels/core/error.h"

namespace retain {
namespace {

constexpr int64_t kMaxConfigBytes = 1 << 20;
constexpr std::string_view kFairseqPrefix = "decoder.";
constexpr std::string_view kFusedGroupNorm = ".attn.g_norm_swish_gate.weight", kPlainGroupNorm = ".attn.g_norm.weight";

[[noreturn]] void refuse(const std::string& path, const std::string& message) {
  throw Error(ErrorKind::kData, concat(path, ": ", message));
}

/// The names as this folder spells them: fairseq puts "decoder." before torchscale's, fla without fused norms says
/// g_norm.
void adapt_names(std::vector<ForeignParameter>& parameters, const SafetensorsFolder& weights) {
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
bool is_buffer(std::string_view name) { return name.ends_with("rotary.inv_freq") || name == "decoder.version"; }

/// A table that torchscale stores must be the one that the configuration stands for: there are models of other decays.
bool is_known_table(const ModelConfig& model, const SafetensorsFolder::Place& place) {
  const std::string& name = place.entry->name;
  std::vector<double> want;
  if (name.ends_with(kTorchscaleAngles)) {
    want = torchscale_angles(model);
  } else if (name.ends_with(kTorchscaleDecays)) {
    want = torchscale_decays(model);
  } else {
    return false;
  }
  const auto fail = [&](const std::string& what) {
    refuse(place.file->path(), concat("tensor '", name, "' ", what, ": Retain does not compute this model"));
  };
  if (place.entry->elements() != static_cast<int64_t>(want.size()))
    fail(concat("is ", place.entry->describe(), ", want ", want.size(), " elements"));
  std::vector<float> values(want.size());
  place.file->read_floats(*place.entry, 0, place.entry->elements(), values.data());
  // torchscale computes them in float32: ln γ of its later heads has few bits or none.
  const double relative = place.entry->dtype == "BF16" || place.entry->dtype == "F16" ? 1e-2 : 1e-4, absolute = 1e-6;
  for (size_t i = 0; i < want.size(); ++i) {
    if (!(std::abs(values[i] - want[i]) <= absolute + relative * std::abs(want[i])))
      fail(concat("has ", values[i], " at ", i, ", the configuration stands for ", want[i]));
  }
  return true;
}

bool equal_bytes(const SafetensorsFolder::Place& a, const SafetensorsFolder::Place& b) {
  if (a.entry->dtype != b.entry->dtype || a.entry->shape != b.entry->shape) return false;
  constexpr int64_t kAtOnce = int64_t{1} << 20;
  std::vector<std::byte> of_a(kAtOnce), of_b(kAtOnce);
  for (int64_t at = 0; at < a.entry->end - a.entry->begin; at += kAtOnce) {
    const int64_t some = std::min(kAtOnce, a.entry->end - a.entry->begin - at);
    a.file->read_bytes(*a.entry, at, some, of_a.data());
    b.file->read_bytes(*b.entry, at, some, of_b.data());
    if (std::memcmp(of_a.data(), of_b.data(), static_cast<size_t>(some)) != 0) return false;
  }
  return true;
}

/// With tied embeddings some writers store the output matrix too; it must then be the embedding.
bool is_tied_copy(const ModelConfig& model, const SafetensorsFolder::Place& place, const ForeignParameter& embedding,
                  const SafetensorsFolder& weights) {
  const std::string& name = place.entry->name;
  if (!model.tie_embeddings) return false;
  if (!name.ends_with("output_projection.weight") && name != "lm_head.weight") return false;
  if (equal_bytes(place, weights.find(embedding.foreign_name))) return true;
  refuse(place.file->path(),
         concat("tensor '", name, "' is another matrix than '", embedding.foreign_name,
                "', and the configuration ties embeddings: correct config.json, or remove the tensor"));
}

void check_tensor(const SafetensorsFile& file, const SafetensorsEntry& entry, const ForeignParameter& parameter) {
  const std::string& name = entry.name;
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

std::vector<float> ImportedModel::read(std::string_view name) const {
  const ForeignParameter& wanted = parameter(name);
  std::vector<float> values(static_cast<size_t>(wanted.elements()));
  read_box(wanted, whole_box(wanted.shape), values.data());
  return values;
}

void ImportedModel::read_box(const ForeignParameter& parameter, const Box& box, float* to) const {
  const SafetensorsFolder::Place place = weights_.find(parameter.foreign_name);
  const int64_t columns = whole_box(parameter.shape).columns;
  if (parameter.head_rows == 0 && box.columns == columns) {
    place.file->read_floats(*place.entry, box.first_row * columns, box.elements(), to);
  } else {
    for (int64_t row = 0; row < box.rows; ++row) {
      const int64_t theirs = their_row(parameter, box.first_row + row);
      place.file->read_floats(*place.entry, theirs * columns + box.first_column, box.columns, to + row * box.columns);
    }
  }
  const std::span values(to, static_cast<size_t>(box.elements()));
  const auto bad = std::find_if(values.begin(), values.end(), [](float value) { return !std::isfinite(value); });
  if (bad == values.end()) return;
  const int64_t at = bad - values.begin();
  refuse(place.file->path(), concat("tensor '", place.entry->name, "' holds ", *bad, " in row ",
                                    their_row(parameter, box.first_row + at / box.columns), ", column ",
                                    box.first_column + at % box.columns, ": no model computes with that"));
}

bool is_model_folder(const std::string& folder) {
  std::error_code error;
  return std::filesystem::exists(folder + "/config.json", error);
}

ImportedModel read_model_folder(const std::string& folder) {
  const std::string config_path = folder + "/config.json";
  const ForeignConfig config =
      parse_foreign_config(read_text(File::open_given(config_path), kMaxConfigBytes), config_path);
  SafetensorsFolder weights(folder);

  // Before the list is made: a configuration with 2^31 layers must cost nothing.
  if (const int64_t want = foreign_parameter_count(config.model); want > weights.count()) {
    refuse(weights.path(),
           concat("holds ", weights.count(), " tensors, the configuration (", foreign_layout_name(config.layout), ", ",
                  config.model.layers, " layers) asks for ", want));
  }
  std::vector<ForeignParameter> parameters = foreign_parameters(config.model, config.layout);
  adapt_names(parameters, weights);
  std::set<std::string_view> wanted;
  for (const ForeignParameter& parameter : parameters) {
    const SafetensorsFolder::Place place = weights.find(parameter.foreign_name);
    check_tensor(*place.file, *place.entry, parameter);
    wanted.insert(parameter.foreign_name);
  }
  for (const SafetensorsFolder::Place& place : weights.tensors()) {
    const std::string& name = place.entry->name;
    if (wanted.contains(name) || is_buffer(name) || is_known_table(config.model, place)) continue;
    if (is_tied_copy(config.model, place, parameters.front(), weights)) continue;
    refuse(place.file->path(),
           concat("tensor '", name, "' is none of the configuration's (", foreign_layout_name(config.layout), ")"));
  }
  return {config, std::move(parameters), std::move(weights)};
}

std::vector<float> read_as_ours(const SafetensorsFile& file, const ForeignParameter& parameter,
                                const std::string& prefix) {
  const SafetensorsEntry& entry = file.entry(prefix + parameter.foreign_name);
  check_tensor(file, entry, parameter);
  return rows_to_ours(parameter, file.read_float(entry.name));
}

}  // namespace retain
