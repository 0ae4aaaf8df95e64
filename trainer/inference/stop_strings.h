// Ends a text where a given string appears in it, however the pieces that it comes in are cut.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace retain {

class StopStrings {
 public:
  /// None of them is empty.
  explicit StopStrings(std::vector<std::string> stops) : stops_(std::move(stops)) {}

  /// What is certain, with this piece, to stand before the first of the strings; the rest is held back while it may be
  /// the beginning of one. Nothing any more once one was found.
  std::string add(std::string_view piece);
  /// What was held back, when no piece follows.
  std::string rest();

  bool found() const { return found_; }

 private:
  std::vector<std::string> stops_;
  std::string held_;
  bool found_ = false;
};

}  // namespace retain
