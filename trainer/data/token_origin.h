// With which tokenizer a set of tokens was made: PREFIX.tokens.json beside it. Sets of others have none.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "trainer/data/token_shard.h"
#include "trainer/data/tokenizer/tokenizer.h"

namespace retain {

struct TokenOrigin {
  std::string tokenizer;    ///< what it was called there
  std::string fingerprint;  ///< Tokenizer::fingerprint()
  int64_t vocab_size = 0;

  bool operator==(const TokenOrigin&) const = default;
};

/// The file that says it.
std::string origin_file(const std::string& prefix);

/// Of a set that was written, durably. Throws Error(kIo).
void write_token_origin(const std::string& prefix, int64_t tokens, int64_t documents, const Tokenizer& tokenizer);

/// Nothing where the file is not there or is about other numbers of tokens and documents: a set was put there by
/// somebody who does not know it. Throws Error(kData) for what is no such file, and Error(kIo).
std::optional<TokenOrigin> read_token_origin(const TokenShard& shard);

}  // namespace retain
