// The text of drawn tokens up to a stop string, in whole characters, as it becomes certain.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "trainer/data/tokenizer/text_stream.h"
#include "trainer/inference/stop_strings.h"

namespace retain {

class GeneratedText {
 public:
  /// The tokenizer outlives it. `before`: the tokens before those that are drawn, or the newest of them.
  GeneratedText(const Tokenizer& tokenizer, std::span<const int32_t> before, std::vector<std::string> stops)
      : text_(tokenizer, before), stops_(std::move(stops)) {}

  std::string add(int32_t token) { return stops_.add(text_.add(token)); }
  /// What is left when no token follows.
  std::string rest() { return stops_.add(text_.rest()) + stops_.rest(); }
  /// Whether a stop string was found, which is not in the text.
  bool stopped() const { return stops_.found(); }

 private:
  TextStream text_;
  StopStrings stops_;
};

}  // namespace retain
