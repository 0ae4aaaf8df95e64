// config.json of fla's RetNet and of torchscale's RetNetDecoder as our configuration of a model.
#pragma once

#include <string>
#include <string_view>

#include "trainer/config.h"
#include "trainer/interop/foreign_layout.h"

namespace retain {

struct ForeignConfig {
  ModelConfig model;
  ForeignLayout layout = ForeignLayout::kFla;
};

/// `path` is for messages. Throws Error(kData) naming the key: for text that is not such a configuration, for values of
/// the wrong kind, and for what Retain does not compute (feature maps, short convolutions, mixture of experts, …):
/// nothing that changes the model is ignored.
ForeignConfig parse_foreign_config(std::string_view json, const std::string& path);

}  // namespace retain
