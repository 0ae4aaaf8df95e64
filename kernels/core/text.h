// Text that comes from outside, as messages show it.
#pragma once

#include <string>
#include <string_view>

namespace retain {

/// Length of the UTF-8 character that begins at `text[i]`; 0 when it is broken (too long a form and surrogates too).
size_t utf8_length(std::string_view text, size_t i);

/// Whether the character of that length at `text[i]` is a control character (C0, DEL, C1).
bool is_control(std::string_view text, size_t i, size_t length);

/// A byte as \xNN.
std::string hex_escape(unsigned char byte);

/// Control characters and broken UTF-8 as \xNN, so that a message cannot steer a terminal.
std::string escape_controls(std::string_view text);
/// The same for a text of several lines that becomes one: \n, \t and \r by their letters.
std::string escape_lines(std::string_view text);

/// The text in single quotes, escaped; of a long text the beginning.
std::string in_quotes(std::string_view text);

/// The text as one word of a line of key=value: as it is, or with blanks, quotes or escapes in it in double quotes.
std::string as_word(std::string_view text);

/// The number of characters in UTF-8 text.
int count_characters(std::string_view text);

}  // namespace retain
