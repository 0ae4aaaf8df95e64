#include "trainer/interop/model_export.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <span>
#include <utility>
#include <vector>

#include "kernels/core/error.h"
#include "trainer/checkpoint/checksum.h"
#include "trainer/checkpoint/trainer_state.h"

namespace retain {
namespace {

/// A tensor of the export: a parameter, or a table that is not one.
struct Tensor {
  SafetensorsEntry entry;
  const ForeignParameter* parameter = nullptr;
  std::vector<double> table = {};

  int64_t bytes() const { return entry.elements() * (entry.dtype == "BF16" ? 2 : 4); }
};

// The weights of one rank, tensor by tensor.
class Weights {
 public:
  Weights(const WeightSource& source, const ModelConfig& model)
      : source_(source), layout_(model, 0, 1, 1), placements_(placements_of(layout_, 0)) {}

  /// As float32. What a fp64 run holds is rounded.
  std::vector<float> read(const std::string& name) {
    const ParameterSpec& spec = layout_.find(name);
    const int64_t count = spec.real_rows * spec.columns;
    const ReplicaShare share({{spec.flat_offset, spec.flat_offset + count}});
    std::vector<char> bytes(static_cast<size_t>(count * dtype_bytes(source_.dtype())));
    read_share(source_, placements_, share, bytes.data());
    digests_[name] = to_hex(checksum(bytes.data(), static_cast<int64_t>(bytes.size())));
    std::vector<float> values(static_cast<size_t>(count));
    if (source_.dtype() == DType::kFloat32) {
      std::memcpy(values.data(), bytes.data(), bytes.size());
    } else {
      const auto* wide = reinterpret_cast<const double*>(bytes.data());
      std::transform(wide, wide + count, values.begin(), [](double value) { return static_cast<float>(value); });
    }
    return values;
  }

  /// Of all that was read.
  std::string digest() const {
    std::string lines;
    for (const auto& [name, digest] : digests_) lines += concat(name, " ", digest, "\n");
    return to_hex(checksum(lines.data(), static_cast<int64_t>(lines.size())));
  }

 private:
  const WeightSource& source_;
  ParameterLayout layout_;
  std::vector<TensorPlacement> placements_;
  std::map<std::string, std::string> digests_;
};

// The weight of the norm of heads, which is the same for all heads, goes into the columns that read its results.
void fold_head_norm(std::vector<float>& o_proj, const std::vector<float>& norm) {
  for (size_t i = 0; i < o_proj.size(); ++i) o_proj[i] *= norm[i % norm.size()];
}

/// Of "layers.0.retention.o_proj.weight" the norm whose weight is folded into it, or nothing.
std::string folded_norm(const std::string& name) {
  constexpr std::string_view kOutput = "o_proj.weight";
  return name.ends_with(kOutput) ? name.substr(0, name.size() - kOutput.size()) + "group_norm.weight" : "";
}

std::vector<Tensor> tensors_of(const ModelConfig& model, const std::vector<ForeignParameter>& parameters,
                               const ExportFormat& format) {
  const char* const dtype = format.dtype == DType::kBfloat16 ? "BF16" : "F32";
  std::vector<Tensor> tensors;
  for (const ForeignParameter& parameter : parameters) {
    tensors.push_back({.entry = {parameter.foreign_name, dtype, parameter.shape}, .parameter = &parameter});
  }
  if (format.layout == ForeignLayout::kFla) return tensors;
  if (model.tie_embeddings) {
    tensors.push_back(tensors.front());
    tensors.back().entry.name = "output_projection.weight";
  }
  for (const auto& [name, table] : {std::pair{kTorchscaleAngles, torchscale_angles(model)},
                                    std::pair{kTorchscaleDecays, torchscale_decays(model)}}) {
    tensors.push_back({.entry = {name, "F32", {static_cast<int64_t>(table.size())}}, .table = table});
  }
  return tensors;
}

/// Into files, in their order, none with more bytes than that where it has two tensors.
std::vector<std::vector<Tensor>> cut_into_files(const std::vector<Tensor>& tensors, int64_t shard_bytes) {
  std::vector<std::vector<Tensor>> files(1);
  int64_t bytes = 0;
  for (const Tensor& tensor : tensors) {
    if (!files.back().empty() && bytes + tensor.bytes() > shard_bytes) {
      files.emplace_back();
      bytes = 0;
    }
    files.back().push_back(tensor);
    bytes += tensor.bytes();
  }
  return files;
}

void write_values(SafetensorsWriter& file, const std::string& dtype, const std::vector<float>& values) {
  if (dtype == "F32") return file.write(std::as_bytes(std::span(values)));
  std::vector<uint16_t> rounded(values.size());
  std::transform(values.begin(), values.end(), rounded.begin(), [](float v) { return Bfloat16::from_float(v).bits; });
  file.write(std::as_bytes(std::span(rounded)));
}

std::string format_index(const std::vector<std::vector<Tensor>>& files) {
  nlohmann::json map = nlohmann::json::object();
  int64_t bytes = 0;
  for (size_t i = 0; i < files.size(); ++i) {
    for (const Tensor& tensor : files[i]) {
      map[tensor.entry.name] = weights_shard_name(i, files.size());
      bytes += tensor.bytes();
    }
  }
  return nlohmann::json{{"metadata", {{"total_size", bytes}}}, {"weight_map", map}}.dump(2) + "\n";
}

}  // namespace

ExportedWeights export_model(const WeightSource& source, const ModelConfig& model, const ForeignText& text,
                             const ExportFormat& format, const std::string& folder,
                             const std::function<void(int64_t, int64_t)>& progress) {
  refuse_inexact(model, format.layout);
  const ModelConfig exported = exported_model(model, format.layout);
  const bool fold = model.group_norm_affine && !exported.group_norm_affine;
  const std::vector<ForeignParameter> parameters = foreign_parameters(exported, format.layout);
  const std::vector<std::vector<Tensor>> files =
      cut_into_files(tensors_of(exported, parameters, format), format.shard_bytes);
  Weights weights(source, model);
  const auto values_of = [&](const Tensor& tensor) -> std::vector<float> {
    if (!tensor.parameter) return {tensor.table.begin(), tensor.table.end()};
    std::vector<float> values = weights.read(tensor.parameter->name);
    if (const std::string norm = folded_norm(tensor.parameter->name); fold && !norm.empty())
      fold_head_norm(values, weights.read(norm));
    return rows_to_theirs(*tensor.parameter, std::move(values));
  };

  ExportedWeights done;
  done.files = static_cast<int64_t>(files.size());
  int64_t all_bytes = 0;
  for (const auto& file : files) {
    for (const Tensor& tensor : file) all_bytes += tensor.bytes();
  }
  for (size_t i = 0; i < files.size(); ++i) {
    const std::string name = files.size() == 1 ? kWeightsFileName : weights_shard_name(i, files.size());
    std::vector<SafetensorsEntry> entries;
    std::map<std::string, const Tensor*> by_name;
    for (const Tensor& tensor : files[i]) {
      entries.push_back(tensor.entry);
      by_name[tensor.entry.name] = &tensor;
    }
    SafetensorsWriter file(concat(folder, "/", name), std::move(entries), {{"format", "pt"}});
    for (const SafetensorsEntry& entry : file.entries()) {
      const Tensor& tensor = *by_name.at(entry.name);
      write_values(file, entry.dtype, values_of(tensor));
      done.bytes += tensor.bytes();
      ++done.tensors;
      progress(done.bytes, all_bytes);
    }
    file.publish();
  }
  if (files.size() > 1) replace_file(Path(folder) / kIndexFileName, format_index(files));
  replace_file(Path(folder) / "config.json", format_foreign_config(exported, format.layout, text, format.dtype));
  done.digest = weights.digest();
  return done;
}

}  // namespace retain
