// config.json of fla's RetNet and of torchscale's RetNetDecoder as our configuration of a model.
#pragma once

#include <string>
#include <string_view>

#include "trainer/config.h"
#include "trainer/interop/foreign_layout.h"

namespace retain {

/// What a configuration says of the text that the model is for.
struct ForeignText {
  int64_t seq_len = 2048;  ///< max_position_embeddings, max_target_positions
  /// The token with which documents end and begin: eos_token_id. kEndOfDocumentNone: null; kEndOfDocumentAuto: not said
  int64_t end_of_document = kEndOfDocumentAuto;
  bool operator==(const ForeignText&) const = default;
};

struct ForeignConfig {
  ModelConfig model;
  ForeignLayout layout = ForeignLayout::kFla;
  ForeignText text = {};
};

/// `path` is for messages. Throws Error(kData) naming the key: for text that is not such a configuration, for values of
/// the wrong kind, and for what Retain does not compute (feature maps, short convolutions, mixture of experts, …):
/// nothing that changes the model is ignored.
ForeignConfig parse_foreign_config(std::string_view json, const std::string& path);

}  // namespace retain
