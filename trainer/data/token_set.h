// A set of tokens on disk, in the format of Megatron's IndexedDataset: PREFIX.bin holds the tokens of all documents,
// one after the other, PREFIX.idx says how long they are. Opening checks the whole index against the files. What a
// document is to training is said by trainer/data/documents.h. All methods are const; any thread may call them.
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

/// What opening a set found out, for ranks that need not read the whole index again.
struct TokenSetFacts {
  TokenIndexHeader header;
  int64_t bytes = 0;         ///< of PREFIX.bin
  uint64_t fingerprint = 0;  ///< TokenSet::fingerprint()
  uint64_t sample = 0;       ///< xxh3 of those blocks of the tokens that the fingerprint looks at
};

/// The prefix that a path of a set means: the path without ".bin" or ".idx" at its end.
std::string token_set_prefix(const std::string& path);

class TokenSet {
 public:
  static constexpr int64_t kAnyVocabulary = int64_t{1} << 31;

  /// Opens PREFIX.idx and PREFIX.bin; `path` is the prefix or either file. Of many sets that share `files` only the
  /// last used are open; without it they stay open. Throws Error(kMissingInput), or Error(kData) with file, offset,
  /// what was found and what was wanted.
  explicit TokenSet(const std::string& path, int64_t vocab_size = kAnyVocabulary,
                    std::shared_ptr<OpenFiles> files = nullptr);
  /// The same of a set that rank 0 has opened: of the index the header is read, and of the tokens the sample. Throws
  /// Error(kConfig) besides when these are other files than rank 0's.
  TokenSet(const std::string& path, int64_t vocab_size, std::shared_ptr<OpenFiles> files, const TokenSetFacts& known);

  const std::string& prefix() const { return prefix_; }
  int64_t tokens() const { return facts_.bytes / token_type_bytes(type()); }
  int64_t documents() const { return facts_.header.boundaries - 1; }
  int64_t bytes() const { return facts_.bytes; }  ///< of PREFIX.bin
  TokenType type() const { return facts_.header.type; }

  /// Tokens [begin, begin + out.size()), which lie inside the set. Throws Error(kData) with file, offset and token when
  /// one is outside [0, vocab_size), or when the file has shrunk.
  void read(int64_t begin, std::span<int32_t> out) const { read(begin, out, vocab_size_); }
  /// The same of tokens that may be outside the vocabulary.
  void read_any(int64_t begin, std::span<int32_t> out) const { read(begin, out, kAnyVocabulary); }

  /// The token with which document [0, documents()) of the index begins; tokens() for documents().
  int64_t document_begin(int64_t document) const;
  /// The first tokens, in [begin, end), of documents of the index, each once; never 0.
  std::vector<int64_t> document_begins(int64_t begin, int64_t end) const;

  /// xxh3 of the whole index, the sizes, and a fixed sample of blocks of the tokens: tells whether a run that goes on
  /// reads what it read before. The path does not matter.
  uint64_t fingerprint() const { return facts_.fingerprint; }
  const TokenSetFacts& facts() const { return facts_; }

 private:
  std::shared_ptr<const File> index() const { return files_->open(prefix_ + ".idx"); }
  std::shared_ptr<const File> binary() const { return files_->open(prefix_ + ".bin"); }
  int64_t document_begin(const File& idx, int64_t document) const;
  void read(int64_t begin, std::span<int32_t> out, int64_t limit) const;

  std::string prefix_;
  int64_t vocab_size_;
  std::shared_ptr<OpenFiles> files_;
  TokenSetFacts facts_;
};

}  // namespace retain
