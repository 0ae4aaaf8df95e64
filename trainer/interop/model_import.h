// A folder with config.json and model.safetensors, of fla (Hugging Face) or torchscale, as a model of ours.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "trainer/config.h"
#include "trainer/interop/foreign_layout.h"
#include "trainer/interop/safetensors.h"

namespace retain {

/// Weights stay on disk until they are asked for: memory is one tensor at a time.
class ImportedModel {
 public:
  ImportedModel(const ModelConfig& config, ForeignLayout layout, std::vector<ForeignParameter> parameters,
                SafetensorsFile weights)
      : config_(config), layout_(layout), parameters_(std::move(parameters)), weights_(std::move(weights)) {}

  const ModelConfig& config() const { return config_; }
  ForeignLayout layout() const { return layout_; }
  /// All parameters of the model in our order, under our names and theirs.
  const std::vector<ForeignParameter>& parameters() const { return parameters_; }
  /// The parameter of our name. Throws Error(kInternal) when the model has none.
  const ForeignParameter& parameter(std::string_view name) const;

  /// The weight under our name, float32, row-major, rows in our order.
  std::vector<float> read(std::string_view name) const;

 private:
  ModelConfig config_;
  ForeignLayout layout_;
  std::vector<ForeignParameter> parameters_;
  SafetensorsFile weights_;
};

/// Checks that the file holds exactly the tensors that the configuration asks for, in their shapes, and numbers.
/// Throws Error(kMissingInput), or Error(kData) naming the key or the tensor.
ImportedModel read_model_folder(const std::string& folder);

/// The tensor PREFIX + foreign name of another file ("grad." of a golden file), in our order of rows.
/// Throws Error(kData) when it is absent or has another shape.
std::vector<float> read_as_ours(const SafetensorsFile& file, const ForeignParameter& parameter,
                                const std::string& prefix = "");

}  // namespace retain
