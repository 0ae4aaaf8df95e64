// Text files to sets of tokens, and what a set of tokens holds.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "trainer/data/prepare_state.h"
#include "trainer/data/token_origin.h"
#include "trainer/data/token_set.h"
#include "trainer/data/tokenizer/tokenizer.h"

namespace retain {

struct PreparedSet {
  std::string prefix;
  int64_t tokens = 0, documents = 0;
};

struct PrepareSummary {
  int64_t text_bytes = 0;  ///< in UTF-8, without the structure of JSONL
  LeftOut empty_documents, bad_lines;
  std::vector<PreparedSet> sets = {};  ///< PREFIX; or PREFIX_train and PREFIX_valid
  bool document_cut = false;           ///< the held-out part begins inside of a document
};

/// How far a preparation is.
struct PrepareProgress {
  int64_t read_bytes = 0, total_bytes = 0;  ///< of the inputs; total 0: not known
  int64_t tokens = 0;
};

struct PrepareOptions {
  double holdout_fraction = 0;               ///< of all tokens, in [0, 1)
  std::optional<std::string> text_key = {};  ///< given: all inputs are JSONL, and this key has the text
  std::string encoding = {};                 ///< of all inputs, as TextReader has it
  int64_t skip_bad = 0;                      ///< lines of JSONL, and files found in folders, that may be left out
  int threads = 1;                           ///< that encode; what is written does not depend on it
  double keep_seconds = 10;                  ///< what is done is kept at least so often, for an attempt that follows
  std::function<void(const std::string&)> say = [](const std::string&) {};  ///< told what people should know
  std::function<void(const PrepareProgress&)> progress = [](const PrepareProgress&) {};
};

/// Each input file (list_inputs) becomes one document, ended by end-of-document; it is streamed. Of JSONL each line is
/// an object, and its string under `text_key` ("text" if not given) a document; a line is held in memory. Blank lines
/// are none; empty documents and, up to skip_bad, lines, and files found in folders, that cannot be used are left out
/// and counted. `out` is the PREFIX, or either file of it. holdout_fraction 0: everything goes to PREFIX. Else the last
/// documents, of about that fraction of all tokens, go to PREFIX_valid and the rest to PREFIX_train; where no document
/// begins near there the one that is there is cut. Folders of the prefix are created. Beside each set is written with
/// which tokenizer it was made.
///
/// What is done is kept in PREFIX.part: the same call goes on after an interruption, however sudden, and writes the
/// same bytes. Inputs that are done are not read again if they are as they were.
///
/// Throws Error(kMissingInput), Error(kData) when a text is not of its encoding or a line is no such object (file and
/// line are named), when there is no text or a part gets no token, Error(kCannotCreate), Error(kIo), Error(kConfig) for
/// an illegal fraction, Error(kUsage) for an unknown encoding.
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
