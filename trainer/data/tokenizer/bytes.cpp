#include "kernels/core/error.h"
#include "trainer/data/tokenizer/tokenizer.h"

namespace retain {
namespace {

class ByteTokenizer final : public Tokenizer {
 public:
  static constexpr int32_t kEndOfDocument = 256;

  std::string_view name() const override { return kByteTokenizer; }
  std::string fingerprint() const override { return kByteTokenizer; }
  int64_t vocab_size() const override { return kEndOfDocument + 1; }
  int32_t end_of_document() const override { return kEndOfDocument; }

  std::vector<int32_t> encode(std::string_view text) const override {
    std::vector<int32_t> tokens;
    tokens.reserve(text.size());
    for (const char c : text) tokens.push_back(static_cast<unsigned char>(c));
    return tokens;
  }

  std::string decode(std::span<const int32_t> tokens) const override {
    std::string text;
    text.reserve(tokens.size());
    for (const int32_t token : tokens) {
      const std::optional<int64_t> bytes = text_bytes(token);
      if (!bytes)
        throw Error(ErrorKind::kData, concat("token ", token, " is none of the tokenizer 'bytes' (0 to 256)"));
      if (*bytes > 0) text.push_back(static_cast<char>(token));
    }
    return text;
  }

  std::optional<int64_t> text_bytes(int32_t token) const override {
    if (token < 0 || token > kEndOfDocument) return std::nullopt;
    return token == kEndOfDocument ? 0 : 1;
  }

  size_t cut(std::string_view text) const override { return text.size(); }
};

}  // namespace

std::unique_ptr<Tokenizer> make_byte_tokenizer() { return std::make_unique<ByteTokenizer>(); }

}  // namespace retain
