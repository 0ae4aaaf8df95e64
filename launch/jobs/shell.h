// Words of a shell.
#pragma once

#include <string>
#include <vector>

namespace retain {

/// The text as one word of a POSIX shell: as it is where nothing in it means anything there, else in single quotes.
std::string quote_for_shell(const std::string& text);
/// Words, each quoted, with blanks between.
std::string quote_for_shell(const std::vector<std::string>& words);

}  // namespace retain
