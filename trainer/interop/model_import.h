// A folder with config.json and the weights in safetensors, of fla (Hugging Face) or torchscale, as a model of ours.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "trainer/checkpoint/boxes.h"
#include "trainer/config.h"
#include "trainer/interop/foreign_layout.h"
#include "trainer/interop/model_config_json.h"
#include "trainer/interop/safetensors_folder.h"

namespace retain {

/// Weights stay on disk until they are asked for. Any thread may ask.
class ImportedModel {
 public:
  ImportedModel(const ForeignConfig& config, std::vector<ForeignParameter> parameters, SafetensorsFolder weights)
      : config_(config), parameters_(std::move(parameters)), weights_(std::move(weights)) {}

  const ModelConfig& config() const { return config_.model; }
  ForeignLayout layout() const { return config_.layout; }
  const ForeignText& text() const { return config_.text; }
  /// All parameters of the model in our order, under our names and theirs.
  const std::vector<ForeignParameter>& parameters() const { return parameters_; }
  /// The parameter of our name. Throws Error(kInternal) when the model has none.
  const ForeignParameter& parameter(std::string_view name) const;

  /// The weight under our name, float32, row-major, rows in our order.
  std::vector<float> read(std::string_view name) const;
  /// A box of it, rows of box.columns elements one after the other. Throws Error(kIo), and Error(kData)
  /// naming the tensor where one is not finite.
  void read_box(const ForeignParameter& parameter, const Box& box, float* to) const;

 private:
  ForeignConfig config_;
  std::vector<ForeignParameter> parameters_;
  SafetensorsFolder weights_;
};

/// Whether there is a config.json: what tells such a folder from a run and from a checkpoint of ours.
bool is_model_folder(const std::string& folder);

/// Checks that the folder holds exactly the tensors that the configuration asks for, in their shapes, and numbers, and
/// that the tables that torchscale stores are those of the configuration. Throws Error(kMissingInput), or Error(kData)
/// naming the key or the tensor.
ImportedModel read_model_folder(const std::string& folder);

/// The tensor PREFIX + foreign name of another file ("grad." of a golden file), in our order of rows.
/// Throws Error(kData) when it is absent or has another shape.
std::vector<float> read_as_ours(const SafetensorsFile& file, const ForeignParameter& parameter,
                                const std::string& prefix = "");

}  // namespace retain
