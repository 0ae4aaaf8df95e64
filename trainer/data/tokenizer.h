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
  virtual std::string_view name() const = 0;  ///< what data.tokenizer says
  virtual int64_t vocab_size() const = 0;     ///< end-of-document included
  virtual int32_t end_of_document() const = 0;

  virtual std::vector<int32_t> encode(std::string_view text) const = 0;
  /// End-of-document has no text. Throws Error(kData) for a token outside the vocabulary.
  virtual std::string decode(std::span<const int32_t> tokens) const = 0;
  /// The bytes of a token's text, 0 for end-of-document; nothing for a token outside the vocabulary.
  virtual std::optional<int64_t> text_bytes(int32_t token) const = 0;
  /// The longest n such that, whatever follows `text`, its first n bytes can be encoded by themselves: text is read and
  /// encoded in pieces.
  virtual size_t cut(std::string_view text) const = 0;
};

/// "bytes": the 256 bytes and end-of-document 256. Throws Error(kConfig) for another name, with the legal ones.
std::unique_ptr<Tokenizer> make_tokenizer(std::string_view name);

}  // namespace retain
