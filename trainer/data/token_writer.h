// Writes a set of tokens that TokenSet, and Megatron's IndexedDataset, reads. Documents are streamed; memory grows by
// four bytes a sequence. The files appear when finish() is called; before, there are only temporaries, which go when
// the writer goes.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "trainer/data/token_set.h"
#include "trainer/file.h"

namespace retain {

/// What of a set that is not finished is safe on the disk.
struct TokensKept {
  int64_t tokens = 0, sequences = 0;
  int64_t open_tokens = 0;  ///< of the last sequence
};

class TokenWriter {
 public:
  /// Tokens are stored as uint16 below a vocabulary of 65500, else as int32 (Megatron's rule). A document longer than
  /// max_sequence_tokens becomes several sequences: the format counts a sequence's tokens in int32.
  /// Throws Error(kCannotCreate).
  TokenWriter(const std::string& prefix, int64_t vocab_size,
              int64_t max_sequence_tokens = std::numeric_limits<int32_t>::max());

  /// The same for a set that may take several attempts: until it is finished its files are `parts`.tokens and so on,
  /// which stay. Goes on behind what keep() has said; {} begins anew. Throws Error(kData) besides where that is not
  /// there any more.
  TokenWriter(const std::string& prefix, int64_t vocab_size, const std::string& parts, const TokensKept& kept,
              int64_t max_sequence_tokens = std::numeric_limits<int32_t>::max());

  /// Adds to the document that is open. Tokens are in [0, vocab_size). Throws Error(kIo).
  void append(std::span<const int32_t> tokens);
  /// Ends the document; the next token starts another. A document without tokens is none.
  void end_document();
  /// Makes all tokens so far durable, of a set with parts. Throws Error(kIo).
  TokensKept keep();
  /// Ends the open document, syncs both files and gives them their names, the index last. Throws Error(kIo),
  /// Error(kCannotCreate), and Error(kData) when there is no token at all.
  void finish();

  int64_t tokens() const { return tokens_; }
  int64_t documents() const { return static_cast<int64_t>(documents_.size()) - 1; }  ///< ended

 private:
  void write_index();
  void restore(const std::string& file, const TokensKept& kept);
  TokenType type_;
  int64_t vocab_size_, max_sequence_tokens_;
  OutputFile idx_, bin_;
  std::optional<OutputFile> sequences_;  ///< int32 each: its length, or ~length where its document goes on
  int64_t kept_sequences_ = 0;
  int64_t tokens_ = 0;
  int64_t open_tokens_ = 0;  ///< of the sequence that is open
  std::vector<int32_t> lengths_;
  std::vector<int64_t> documents_ = {0};
};

}  // namespace retain
