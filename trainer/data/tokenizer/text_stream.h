// The text of tokens that come one by one, such as those that a model draws, in whole characters.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "trainer/data/tokenizer/tokenizer.h"

namespace retain {

class TextStream {
 public:
  /// The tokenizer outlives it. `before`: the tokens that came before, whose text is known: with some tokenizers a
  /// token's text depends on whether any did.
  TextStream(const Tokenizer& tokenizer, std::span<const int32_t> before);

  /// The text that is certain now and was not before; a character of several tokens comes with its last one.
  std::string add(int32_t token);
  /// What is left when no token follows, whole or not.
  std::string rest();

 private:
  const Tokenizer& tokenizer_;
  std::vector<int32_t> tokens_;  ///< the newest
  size_t told_;                  ///< of them, those whose text was given
};

}  // namespace retain
