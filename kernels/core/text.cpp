#include "kernels/core/text.h"

#include <algorithm>

#include "kernels/core/error.h"

namespace retain {

size_t utf8_length(std::string_view text, size_t i) {
  const auto byte = [&](size_t k) { return static_cast<unsigned char>(text[k]); };
  const unsigned lead = byte(i);
  if (lead < 0x80) return 1;
  const size_t length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (lead < 0xc2 || lead > 0xf4 || i + length > text.size()) return 0;
  for (size_t k = 1; k < length; ++k)
    if ((byte(i + k) & 0xc0) != 0x80) return 0;
  const unsigned second = byte(i + 1);
  if ((lead == 0xe0 && second < 0xa0) || (lead == 0xed && second > 0x9f)) return 0;
  if ((lead == 0xf0 && second < 0x90) || (lead == 0xf4 && second > 0x8f)) return 0;
  return length;
}

bool is_control(std::string_view text, size_t i, size_t length) {
  const auto lead = static_cast<unsigned char>(text[i]);
  if (length == 1) return lead < 0x20 || lead == 0x7f;
  return length == 2 && lead == 0xc2 && static_cast<unsigned char>(text[i + 1]) < 0xa0;
}

std::string hex_escape(unsigned char byte) {
  const char* digits = "0123456789abcdef";
  return {'\\', 'x', digits[byte >> 4], digits[byte & 15]};
}

namespace {

// The control characters in `letters`, some of "\n\t\r", are written by their letters.
std::string escape(std::string_view text, std::string_view letters) {
  std::string out;
  for (size_t i = 0; i < text.size();) {
    const size_t length = utf8_length(text, i);
    if (letters.find(text[i]) != std::string_view::npos) {
      out += text[i] == '\n' ? "\\n" : text[i] == '\t' ? "\\t" : "\\r";
    } else if (length == 0 || is_control(text, i, length)) {
      for (size_t k = 0; k < std::max<size_t>(length, 1); ++k)
        out += hex_escape(static_cast<unsigned char>(text[i + k]));
    } else {
      out += text.substr(i, length);
    }
    i += std::max<size_t>(length, 1);
  }
  return out;
}

}  // namespace

std::string escape_controls(std::string_view text) { return escape(text, ""); }
std::string escape_lines(std::string_view text) { return escape(text, "\n\t\r"); }

std::string in_quotes(std::string_view text) {
  constexpr size_t kLongest = 80;
  if (text.size() <= kLongest) return concat("'", escape_controls(text), "'");
  size_t end = kLongest;
  while (end > kLongest - 4 && (text[end] & 0xc0) == 0x80) --end;  // between characters
  return concat("'", escape_controls(text.substr(0, end)), "...'");
}

std::string as_word(std::string_view text) {
  const bool plain = text.find_first_of(" \"'\\") == std::string_view::npos && escape_lines(text) == text;
  if (plain && !text.empty()) return std::string(text);
  std::string quoted;
  for (const char c : text) quoted += c == '"' || c == '\\' ? std::string({'\\', c}) : std::string(1, c);
  return '"' + escape_lines(quoted) + '"';
}

int count_characters(std::string_view text) {
  return static_cast<int>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

}  // namespace retain
