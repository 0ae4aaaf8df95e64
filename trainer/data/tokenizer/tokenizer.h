// Text to tokens and back. A tokenizer never changes after it is made; any thread may use it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace retain {

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;
  virtual std::string_view name() const = 0;  ///< what messages call it: "bytes", or its file
  /// "bytes", or 16 hexadecimal digits: of all that decides which tokens a text becomes, and what text they are,
  /// wherever and in whichever files it is written.
  virtual std::string fingerprint() const = 0;
  virtual int64_t vocab_size() const = 0;  ///< end-of-document included
  virtual int32_t end_of_document() const = 0;

  virtual std::vector<int32_t> encode(std::string_view text) const = 0;
  /// End-of-document has no text. Throws Error(kData) for a token outside the vocabulary.
  virtual std::string decode(std::span<const int32_t> tokens) const = 0;
  /// The bytes of a token's text, 0 for end-of-document; nothing for a token outside the vocabulary.
  virtual std::optional<int64_t> text_bytes(int32_t token) const = 0;
  /// The longest n that is known such that, whatever follows `text`, its first n bytes can be encoded by themselves:
  /// text is read and encoded in pieces. 0 where only the whole can be.
  virtual size_t cut(std::string_view text) const = 0;
};

/// What data.tokenizer calls the one that needs no files.
inline constexpr const char* kByteTokenizer = "bytes";
/// The 256 bytes and end-of-document 256.
std::unique_ptr<Tokenizer> make_byte_tokenizer();

/// The files of a tokenizer, read: of byte-level BPE tokenizer.json, or vocab.json and merges.txt, with
/// tokenizer_config.json where there is one; of SentencePiece one model.
struct TokenizerFiles {
  enum class Kind : uint8_t { kTokenizerJson, kVocabularyAndMerges, kSentencePieces } kind = Kind::kTokenizerJson;
  struct File {
    std::string path, contents;
  };
  std::vector<File> files;  ///< in this order
};

/// Of a file, or of the folder that has them. Throws Error(kMissingInput) with what was looked for, and Error(kIo).
TokenizerFiles read_tokenizer_files(const std::string& path);

/// Throws Error(kData) with file, place and remedy for what is no tokenizer, or one of a kind that cannot be had
/// exactly.
std::unique_ptr<Tokenizer> make_tokenizer(const TokenizerFiles& files);

/// kByteTokenizer, or the path of a file or folder of a tokenizer.
std::unique_ptr<Tokenizer> make_tokenizer(const std::string& name);

}  // namespace retain
