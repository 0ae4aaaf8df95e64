// Trains a tokenizer on a sample of a text.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "trainer/data/input_files.h"

namespace retain {

struct TrainTokenizerOptions {
  int64_t vocab_size = 0;                    ///< with the 256 bytes, the unknown piece and end-of-document
  int64_t sample_bytes = int64_t{1} << 26;   ///< of the text, at most
  std::optional<std::string> text_key = {};  ///< as PrepareOptions
  std::string encoding = {};
  int64_t skip_bad = 0;
};

struct TrainedTokenizer {
  std::string path;           ///< of the model
  int64_t text_bytes = 0;     ///< of all inputs
  int64_t sampled_bytes = 0;  ///< that it was trained on
  LeftOut unusable;           ///< lines of JSONL, and files
};

/// Trains SentencePiece's BPE on blocks taken evenly from all inputs and writes FOLDER/tokenizer.model, the same bytes
/// each time. Throws what prepare_tokens() throws for inputs, and Error(kData) with the library's reason, such as a
/// text too small for the size; Error(kCannotCreate), Error(kIo).
TrainedTokenizer train_tokenizer(std::span<const std::string> inputs, const std::string& folder,
                                 const TrainTokenizerOptions& options);

}  // namespace retain
