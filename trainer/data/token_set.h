// A set of tokens on disk, in the format of Megatron's IndexedDataset: PREFIX.bin holds the tokens of all documents,
// one after the other, PREFIX.idx says how long they are. Opening checks the whole index against the files. Documents
// end with the tokenizer's end-of-document token (Megatron's --append-eod): the tokens alone tell where documents
// begin. All methods are const and may be called from any thread.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "trainer/file.h"

namespace retain {

/// How a token is stored; the values are the format's codes (6 and 7 are floats, which hold no tokens).
enum class TokenType : uint8_t { kUint8 = 1, kInt8 = 2, kInt16 = 3, kInt32 = 4, kInt64 = 5, kUint16 = 8 };

int64_t token_type_bytes(TokenType type);
const char* token_type_name(TokenType type);  ///< "uint16", …

/// The 34 bytes with which PREFIX.idx begins; then lengths i32[sequences], offsets i64[sequences], documents
/// i64[boundaries].
struct TokenIndexHeader {
  static constexpr int64_t kBytes = 34;
  static constexpr char kMagic[9] = {'M', 'M', 'I', 'D', 'I', 'D', 'X', 0, 0};
  static constexpr uint64_t kVersion = 1;
  TokenType type = TokenType::kUint16;
  int64_t sequences = 0;
  int64_t boundaries = 0;  ///< documents + 1: the list begins with 0
};

/// The prefix that a path of a set means: the path without ".bin" or ".idx" at its end.
std::string token_set_prefix(const std::string& path);

class TokenSet {
 public:
  static constexpr int64_t kAnyVocabulary = int64_t{1} << 31;

  /// Opens PREFIX.idx and PREFIX.bin; `path` is the prefix or either file. Throws Error(kMissingInput), or Error(kData)
  /// with file, offset, what was found and what was wanted.
  explicit TokenSet(const std::string& path, int64_t vocab_size = kAnyVocabulary);

  const std::string& prefix() const { return prefix_; }
  int64_t tokens() const { return tokens_; }
  int64_t documents() const { return header_.boundaries - 1; }
  int64_t bytes() const { return bin_.bytes(); }  ///< of PREFIX.bin
  TokenType type() const { return header_.type; }

  /// Tokens [begin, begin + out.size()), which lie inside the set. Throws Error(kData) with file, offset and token when
  /// one is outside [0, vocab_size), or when the file has shrunk.
  void read(int64_t begin, std::span<int32_t> out) const;

  /// xxh3 of the whole index, the sizes, and a fixed sample of blocks of the tokens: tells whether a run that goes on
  /// reads what it read before. The path does not matter.
  uint64_t fingerprint() const { return fingerprint_; }

 private:
  TokenIndexHeader read_header() const;
  void check_sequences() const;
  void check_documents() const;
  uint64_t compute_fingerprint() const;

  std::string prefix_;
  int64_t vocab_size_;
  File idx_, bin_;
  TokenIndexHeader header_;
  int64_t tokens_ = 0;
  uint64_t fingerprint_ = 0;
};

}  // namespace retain
