// Text files to sets of tokens, and what a set of tokens holds.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "trainer/data/token_origin.h"
#include "trainer/data/token_set.h"
#include "trainer/data/tokenizer/tokenizer.h"

namespace retain {

struct PreparedSet {
  std::string prefix;
  int64_t tokens = 0, documents = 0;
};

/// Things that were left out, and where the first of them are: "a.jsonl:3", or more of a sentence.
struct LeftOut {
  int64_t count = 0;
  std::vector<std::string> first;
};

struct PrepareSummary {
  int64_t text_bytes = 0;  ///< in UTF-8, without the structure of JSONL
  LeftOut empty_documents, bad_lines;
  std::vector<PreparedSet> sets;  ///< PREFIX; or PREFIX_train and PREFIX_valid
};

struct PrepareOptions {
  double holdout_fraction = 0;               ///< of all tokens, in [0, 1)
  std::optional<std::string> text_key = {};  ///< given: all inputs are JSONL, and this key has the text
  std::string encoding = {};                 ///< of all inputs, as TextReader has it
  int64_t skip_bad = 0;                      ///< lines of JSONL that may be left out because they cannot be used
  int threads = 1;                           ///< that encode; what is written does not depend on it
};

/// Each input file ("-" is standard input) becomes one document, ended by end-of-document; it is streamed. Of JSONL
/// each line is an object, and its string under `text_key` ("text" if not given) a document; a line is held in memory.
/// Blank lines are none; empty documents and, up to skip_bad, lines that cannot be used are left out and counted. Files
/// named .jsonl and .ndjson are JSONL. Compressed files, and .json without a text_key, are refused. `out` is the
/// PREFIX, or either file of it. holdout_fraction 0: everything goes to PREFIX. Else the last fraction of all tokens
/// goes to PREFIX_valid and the rest to PREFIX_train; a document that the cut divides goes on in PREFIX_valid. Folders
/// of the prefix are created. Beside each set is written with which tokenizer it was made. Throws Error(kMissingInput),
/// Error(kData) when a text is not of its encoding or a line is no such object (file and line are named), when there is
/// no text or a part gets no token, Error(kCannotCreate), Error(kIo), Error(kConfig) for an illegal fraction,
/// Error(kUsage) for an unknown encoding.
PrepareSummary prepare_tokens(std::span<const std::string> inputs, const std::string& out, const Tokenizer& tokenizer,
                              const PrepareOptions& options = {});

struct TokenSetDescription {
  std::string prefix;
  int64_t tokens = 0, documents = 0, bytes = 0;
  TokenType type = TokenType::kUint16;  ///< of the first shard, as the next
  TokenFormat format = TokenFormat::kMegatron;
  int64_t shards = 1;
  int32_t smallest_token = 0, largest_token = 0;
  uint64_t fingerprint = 0;
  std::optional<TokenOrigin> origin = {};  ///< of the first shard
  /// The first tokens as text; empty when the set has tokens that are not this tokenizer's.
  std::string beginning = {};
};

/// Reads the whole set (for the range of its tokens). beginning_tokens: how many are decoded.
TokenSetDescription describe(const TokenSet& set, const Tokenizer& tokenizer, int64_t beginning_tokens = 64);

}  // namespace retain
