#include "trainer/data/tokenizer/text_stream.h"

#include <algorithm>
#include <cstddef>
#include <string_view>

namespace retain {
namespace {

constexpr size_t kLongestCharacter = 4;  // bytes, and so tokens

/// Whether the text ends inside of a character: in UTF-8 that is cut off, or in what SentencePiece makes of such.
bool ends_inside(std::string_view text) {
  constexpr std::string_view kReplacement = "\xef\xbf\xbd";
  if (text.ends_with(kReplacement)) return true;
  for (size_t bytes = 1; bytes < kLongestCharacter && bytes <= text.size(); ++bytes) {
    const size_t first = text.size() - bytes;
    const auto byte = static_cast<unsigned char>(text[first]);
    if ((byte & 0xc0) == 0x80) continue;
    const size_t length = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc2 ? 2 : 1;
    return length > bytes && byte < 0xf5;
  }
  return false;
}

}  // namespace

TextStream::TextStream(const Tokenizer& tokenizer, std::span<const int32_t> before) : tokenizer_(tokenizer) {
  const auto kept = before.last(std::min(before.size(), kLongestCharacter));
  tokens_.assign(kept.begin(), kept.end());
  told_ = tokens_.size();
}

std::string TextStream::add(int32_t token) {
  tokens_.push_back(token);
  const std::string known = tokenizer_.decode(std::span(tokens_).first(told_)), text = tokenizer_.decode(tokens_);
  const std::string more = text.size() > known.size() ? text.substr(known.size()) : "";
  if (ends_inside(more) && tokens_.size() - told_ < kLongestCharacter) return "";
  tokens_.erase(tokens_.begin(), tokens_.begin() + static_cast<std::ptrdiff_t>(told_));
  told_ = tokens_.size();
  return more;
}

std::string TextStream::rest() {
  const std::string known = tokenizer_.decode(std::span(tokens_).first(told_)), text = tokenizer_.decode(tokens_);
  told_ = tokens_.size();
  return text.size() > known.size() ? text.substr(known.size()) : "";
}

}  // namespace retain
