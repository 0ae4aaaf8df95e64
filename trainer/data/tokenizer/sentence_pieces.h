// SentencePiece models, by its library: used, and trained.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "trainer/data/tokenizer/tokenizer.h"

namespace retain {

/// Whether this build has the library. Without it the other functions throw Error(kMissingInput).
bool have_sentence_pieces();

/// Of a model file that was read. Throws Error(kData) for what the library cannot load, and for a model without an end
/// of sentences (eos), which ends documents here.
std::unique_ptr<Tokenizer> load_sentence_pieces(const TokenizerFiles::File& model);

/// BPE with the bytes as pieces of what is not in the vocabulary, without normalization: any UTF-8 without U+2581 comes
/// back as it was. `next_line` gives the text line by line, without the newlines. vocab_size: with the 256 bytes, the
/// unknown piece and end-of-document. Gives the model file's bytes. Throws Error(kData) with the library's reason, such
/// as a text too small for the size.
std::string train_sentence_pieces(const std::function<std::optional<std::string>()>& next_line, int64_t vocab_size);

}  // namespace retain
