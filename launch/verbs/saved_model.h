// The model of a checkpoint and the text that it is for, as the run that wrote it had them.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "trainer/checkpoint/reader.h"
#include "trainer/config.h"
#include "trainer/data/tokenizer/tokenizer.h"

namespace retain {

struct SavedModel {
  Config config;
  std::string tokenizer_path;  ///< "bytes", or where its files are
  std::unique_ptr<Tokenizer> tokenizer;
  std::optional<int32_t> end_token;  ///< with which its documents end and begin, unless a set shows another
};

/// What of the configuration this release does not know is told by `warn`; of the model it is refused. Throws
/// Error(kData), Error(kMissingInput) where the tokenizer is nowhere.
SavedModel saved_model(const Checkpoint& checkpoint, const LogLine& warn);

}  // namespace retain
