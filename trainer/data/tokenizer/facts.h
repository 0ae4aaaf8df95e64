// What training needs to know of a tokenizer, without its files.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "parallel/communicator.h"
#include "trainer/data/tokenizer/tokenizer.h"

namespace retain {

struct TokenizerFacts {
  std::string name;         ///< data.tokenizer
  std::string fingerprint;  ///< Tokenizer::fingerprint()
  int32_t end_of_document = 0;
  std::vector<int32_t> bytes;  ///< of each token's text; -1 of a number that no token has

  int64_t vocab_size() const { return static_cast<int64_t>(bytes.size()); }
  /// Tokenizer::text_bytes().
  std::optional<int64_t> text_bytes(int32_t token) const {
    const bool known = token >= 0 && token < vocab_size() && bytes[static_cast<size_t>(token)] >= 0;
    return known ? std::optional<int64_t>(bytes[static_cast<size_t>(token)]) : std::nullopt;
  }
};

TokenizerFacts facts_of(const Tokenizer& tokenizer);

/// Of the tokenizer of this name (make_tokenizer), which rank 0 alone makes; what it throws is a SharedError.
/// Collective over `host`.
std::shared_ptr<const TokenizerFacts> tokenizer_facts(Communicator& host, const std::string& name);
/// The same of this process alone.
std::shared_ptr<const TokenizerFacts> tokenizer_facts(const std::string& name);

}  // namespace retain
