// The line at the bottom of a terminal, under all that scrolls.
#pragma once

#include <string>
#include <string_view>

namespace retain {

/// Columns of the terminal behind a descriptor. 0 where no line can be kept at its bottom: it is a file or a pipe,
/// TERM is dumb or not set, nobody knows how wide it is, as launchers make terminals for their ranks, or a shell has
/// this program in the background.
int columns_of_terminal(int descriptor);

/// Of the streams that are one terminal; one thread writes these.
class BottomLine {
 public:
  /// What to write so that `text` is there instead of what was; "" removes it.
  std::string replace_by(std::string text);
  /// What to write so that whole lines scroll above it.
  std::string under(std::string_view lines) const;

 private:
  std::string text_;
};

}  // namespace retain
