// The regular expression by which a tokenizer splits text, found by PCRE2.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace retain {

/// A part of a text, and whether the pattern matched it; what lies between two matches did not.
using Piece = std::function<void(std::string_view part, bool matched)>;

class Pattern {
 public:
  /// \s is White_Space of Unicode, as in the expressions of Rust and Oniguruma. `where` names the pattern in messages.
  /// Throws Error(kData) for what PCRE2 cannot compile.
  Pattern(const std::string& expression, std::string where);
  ~Pattern();
  Pattern(Pattern&&) noexcept;
  Pattern& operator=(Pattern&&) noexcept;

  /// All of `text`, which is UTF-8, in order. Throws Error(kData) where PCRE2 gives up.
  void split(std::string_view text, const Piece& piece) const;

  /// The end of the last match that stays one whatever follows `text`.
  size_t settled(std::string_view text) const;
  /// Where a match begins that would need more text to be one; the end if there is none.
  size_t open_match(std::string_view text) const;

 private:
  struct Compiled;
  std::unique_ptr<Compiled> compiled_;
};

}  // namespace retain
