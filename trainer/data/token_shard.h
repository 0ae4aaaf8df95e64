// A shard of tokens on disk, of one of three formats:
//   Megatron's IndexedDataset: PREFIX.bin holds the tokens of all documents, one after the other, PREFIX.idx says how
//     long they are;
//   llm.c: PREFIX.bin alone, whose header of 1024 bytes says what it holds;
//   nanoGPT: a file of nothing but uint16, which is never guessed.
// Opening checks the whole index, or the header, against the files. What a document is to training is said by
// trainer/data/documents.h. All methods are const; any thread may call them.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "trainer/open_files.h"

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

enum class TokenFormat : uint8_t { kMegatron, kLlmC, kNanoGpt };
const char* token_format_name(TokenFormat format);  ///< "megatron", …

/// Before the path of a file of nanoGPT's.
inline constexpr const char* kNanoGpt = "nanogpt:";

/// What opening a shard found out, for ranks that need not read the whole index again.
struct TokenShardFacts {
  TokenIndexHeader header;  ///< of other formats the type, and one document
  TokenFormat format = TokenFormat::kMegatron;
  int64_t tokens_at = 0;     ///< the byte of the .bin with which the tokens begin
  int64_t bytes = 0;         ///< of the tokens
  uint64_t fingerprint = 0;  ///< TokenShard::fingerprint()
  uint64_t sample = 0;       ///< xxh3 of those blocks of the tokens that the fingerprint looks at
};

/// The prefix that a path means: the path without ".bin" or ".idx" at its end.
std::string token_set_prefix(const std::string& path);

/// Any token that this program can hold.
inline constexpr int64_t kAnyVocabulary = int64_t{1} << 31;

class TokenShard {
 public:
  /// `path`: the prefix or either file; or kNanoGpt and the file. Throws Error(kMissingInput), or Error(kData) with
  /// file, offset, what was found and what was wanted.
  TokenShard(const std::string& path, int64_t vocab_size, std::shared_ptr<OpenFiles> files);
  /// The same of a shard that rank 0 has opened: of the index the header is read, and of the tokens the sample. Throws
  /// Error(kConfig) besides when these are other files than rank 0's.
  TokenShard(const std::string& path, int64_t vocab_size, std::shared_ptr<OpenFiles> files,
             const TokenShardFacts& known);

  const std::string& prefix() const { return prefix_; }
  TokenFormat format() const { return facts_.format; }
  TokenType type() const { return facts_.header.type; }
  int64_t bytes() const { return facts_.bytes; }
  int64_t tokens() const { return facts_.bytes / token_type_bytes(type()); }
  int64_t documents() const { return facts_.header.boundaries - 1; }

  /// TokenSet::read(), of a vocabulary of `limit`.
  void read(int64_t begin, std::span<int32_t> out, int64_t limit) const;
  /// "a.bin: byte 80000: token 40000"
  std::string place_of(int64_t token) const;
  int64_t vocab_size() const { return vocab_size_; }

  // As TokenSet's, of this shard alone.
  int64_t document_begin(int64_t document) const;
  std::vector<int64_t> document_begins(int64_t begin, int64_t end) const;

  /// xxh3 of the whole index, the sizes, and a fixed sample of blocks of the tokens. The path does not matter.
  uint64_t fingerprint() const { return facts_.fingerprint; }
  const TokenShardFacts& facts() const { return facts_; }

 private:
  std::string binary_path() const { return facts_.format == TokenFormat::kNanoGpt ? prefix_ : prefix_ + ".bin"; }
  std::shared_ptr<const File> index() const { return files_->open(prefix_ + ".idx"); }
  std::shared_ptr<const File> binary() const { return files_->open(binary_path()); }
  int64_t document_begin(const File& idx, int64_t document) const;

  std::string prefix_;
  int64_t vocab_size_;
  std::shared_ptr<OpenFiles> files_;
  TokenShardFacts facts_;
};

}  // namespace retain
