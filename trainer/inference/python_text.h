// Of Python's texts what the definitions of public tasks lean on, for UTF-8.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace retain {

/// text.rstrip(), text.strip()
std::string_view without_spaces_at_end(std::string_view text);
std::string_view without_spaces_around(std::string_view text);
/// len(re.split(r"\s+", text)): words, of an empty text one
int64_t count_words(std::string_view text);
/// len(text): characters
int64_t count_code_points(std::string_view text);
/// text.capitalize(), of the letters of ASCII
std::string capitalized(std::string_view text);
/// text.replace(from, to)
std::string replaced(std::string_view text, std::string_view from, std::string_view to);

}  // namespace retain
