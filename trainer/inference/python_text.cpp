#include "trainer/inference/python_text.h"

#include <algorithm>
#include <array>
#include <cstddef>

#include "kernels/core/text.h"

namespace retain {

namespace {

/// The white space of several bytes: str.isspace() of Python 3.
constexpr std::array<std::string_view, 19> kWideSpaces = {
    "\xc2\x85",     "\xc2\xa0",     "\xe1\x9a\x80", "\xe2\x80\x80", "\xe2\x80\x81", "\xe2\x80\x82", "\xe2\x80\x83",
    "\xe2\x80\x84", "\xe2\x80\x85", "\xe2\x80\x86", "\xe2\x80\x87", "\xe2\x80\x88", "\xe2\x80\x89", "\xe2\x80\x8a",
    "\xe2\x80\xa8", "\xe2\x80\xa9", "\xe2\x80\xaf", "\xe2\x81\x9f", "\xe3\x80\x80"};

bool is_narrow_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r') || (c >= '\x1c' && c <= '\x1f'); }

/// Bytes of the white space that begins, or ends, the text; 0 where that does not.
size_t space_at_begin(std::string_view text) {
  if (!text.empty() && is_narrow_space(text.front())) return 1;
  const auto* const found = std::ranges::find_if(kWideSpaces, [&](auto space) { return text.starts_with(space); });
  return found == kWideSpaces.end() ? 0 : found->size();
}
size_t space_at_end(std::string_view text) {
  if (!text.empty() && is_narrow_space(text.back())) return 1;
  const auto* const found = std::ranges::find_if(kWideSpaces, [&](auto space) { return text.ends_with(space); });
  return found == kWideSpaces.end() ? 0 : found->size();
}

char to_upper(char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c; }
char to_lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

}  // namespace

std::string_view without_spaces_at_end(std::string_view text) {
  while (const size_t space = space_at_end(text)) text.remove_suffix(space);
  return text;
}

std::string_view without_spaces_around(std::string_view text) {
  text = without_spaces_at_end(text);
  while (const size_t space = space_at_begin(text)) text.remove_prefix(space);
  return text;
}

int64_t count_words(std::string_view text) {
  int64_t words = 1;
  bool in_space = false;
  while (!text.empty()) {
    const size_t space = space_at_begin(text);
    words += space > 0 && !in_space ? 1 : 0;
    in_space = space > 0;
    text.remove_prefix(std::max<size_t>(1, space));
  }
  return words;
}

int64_t count_code_points(std::string_view text) {
  return std::ranges::count_if(text, [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; });
}

std::string capitalized(std::string_view text) {
  std::string result(text);
  std::ranges::transform(result, result.begin(), to_lower);
  if (!result.empty()) result.front() = to_upper(result.front());
  return result;
}

std::string replaced(std::string_view text, std::string_view from, std::string_view to) {
  std::string result;
  for (size_t at = text.find(from); at != std::string_view::npos; at = text.find(from)) {
    result.append(text.substr(0, at)).append(to);
    text.remove_prefix(at + from.size());
  }
  return result.append(text);
}

}  // namespace retain
