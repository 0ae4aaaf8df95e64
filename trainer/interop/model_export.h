// Weights of ours as a folder that fla (Hugging Face) or torchscale reads: config.json and safetensors, one tensor in
// memory at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "trainer/inference/weight_source.h"
#include "trainer/interop/export_format.h"
#include "trainer/interop/model_config_writer.h"

namespace retain {

struct ExportedWeights {
  int64_t bytes = 0, tensors = 0, files = 0;
  /// XXH3-64 of the lines "NAME DIGEST" of the weights, in the order of their names: DIGEST is what `checkpoint digest
  /// --json` says of master. What was exported in fp32 and is imported has the same.
  std::string digest;
};

/// Writes them into a folder that is there and empty, durably. Where embeddings are tied torchscale, which loads by
/// name, finds the matrix under both names, and so the tables that its checkpoints hold. `progress` is called with
/// bytes written and bytes in all. Throws Error(kConfig) for a model that cannot be exact there, Error(kData) for
/// damage, Error(kIo).
ExportedWeights export_model(
    const WeightSource& weights, const ModelConfig& model, const ForeignText& text, const ExportFormat& format,
    const std::string& folder, const std::function<void(int64_t, int64_t)>& progress = [](int64_t, int64_t) {});

}  // namespace retain
