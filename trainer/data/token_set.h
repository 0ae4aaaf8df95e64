// A set of tokens on disk: one shard (trainer/data/token_shard.h), or several in a row. All methods are const; any
// thread may call them.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "trainer/data/token_shard.h"
#include "trainer/open_files.h"

namespace retain {

/// What opening a set found out, for ranks that need not read whole indexes again.
struct TokenSetFacts {
  std::vector<TokenShardFacts> shards;
};

/// Whether a path may name several shards: it has *, ?, [ or {.
bool may_name_several(const std::string& path);

class TokenSet {
 public:
  static constexpr int64_t kAnyVocabulary = retain::kAnyVocabulary;

  /// Opens the shards that `path` names: the prefix or either file of one, or a pattern of several, such as
  /// "data/web_*.bin" or "data/{b,a}_train", in the order of their names, or of the braces; with "nanogpt:" before it
  /// files of nanoGPT. Of many sets that share `files` only the last used files are open; without it they stay open.
  /// Throws Error(kMissingInput), or Error(kData) with file, offset, what was found and what was wanted.
  explicit TokenSet(const std::string& path, int64_t vocab_size = kAnyVocabulary,
                    std::shared_ptr<OpenFiles> files = nullptr);
  /// The same of a set that rank 0 has opened: of an index the header is read, and of the tokens a sample. Throws
  /// Error(kConfig) besides when these are other files than rank 0's.
  TokenSet(const std::string& path, int64_t vocab_size, const std::shared_ptr<OpenFiles>& files,
           const TokenSetFacts& known);

  const std::string& prefix() const { return prefix_; }  ///< of the shard, or the pattern
  const std::vector<TokenShard>& shards() const { return shards_; }
  int64_t tokens() const { return begins_.back(); }
  int64_t documents() const { return first_documents_.back(); }
  int64_t bytes() const;                                     ///< of the tokens
  TokenType type() const { return shards_.front().type(); }  ///< of the first shard

  /// Tokens [begin, begin + out.size()), which lie inside the set. Throws Error(kData) with file, offset and token when
  /// one is outside [0, vocab_size), or when the file has shrunk or was changed.
  void read(int64_t begin, std::span<int32_t> out) const { read(begin, out, shards_.front().vocab_size()); }
  /// The same of tokens that may be outside the vocabulary.
  void read_any(int64_t begin, std::span<int32_t> out) const { read(begin, out, kAnyVocabulary); }

  /// In which file it is, and where: "a.bin: byte 80000: token 40000".
  std::string place_of(int64_t token) const;

  /// The token with which document [0, documents()) of the index begins; tokens() for documents(). Shards without an
  /// index that follow each other are one document.
  int64_t document_begin(int64_t document) const;
  /// The first tokens, in [begin, end), of documents of the index, each once; never 0.
  std::vector<int64_t> document_begins(int64_t begin, int64_t end) const;

  /// Tells whether a run that goes on reads what it read before: of the shards' fingerprints, where there are several.
  uint64_t fingerprint() const;
  TokenSetFacts facts() const;

 private:
  void count();
  void read(int64_t begin, std::span<int32_t> out, int64_t limit) const;
  /// The shard with this token, or with this document; `begins` is begins_ or first_documents_.
  static size_t shard_of(const std::vector<int64_t>& begins, int64_t index);

  std::string prefix_;
  std::vector<TokenShard> shards_;
  std::vector<int64_t> begins_;           ///< the number of tokens before each shard, and in all
  std::vector<int64_t> first_documents_;  ///< likewise of documents
};

}  // namespace retain
