// Byte-level BPE, as GPT-2 has it: text is split by patterns, and the bytes of each piece are merged, the pair that
// comes first in the list of merges first, until no pair of neighbours is in the list.
#pragma once

#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "trainer/data/tokenizer/tokenizer.h"

namespace retain {

struct AddedToken {
  int32_t id = 0;
  std::string text;
  bool special = false;  ///< is never made of text: a document cannot end itself
};

/// What a tokenizer's files say. Tokens are given by their bytes.
struct ByteLevelBpe {
  std::string name;  ///< what messages call it
  std::unordered_map<std::string, int32_t> vocabulary;
  std::vector<std::pair<std::string, std::string>> merges;
  std::vector<std::string> patterns;  ///< each splits what those before it left
  std::vector<AddedToken> added;
  bool whole_pieces_first = false;  ///< a piece that is a token is not merged
  int32_t end_of_document = 0;
};

/// Throws Error(kData) when a byte is no token, a merge is of something that is none, or a pattern cannot be compiled.
std::unique_ptr<Tokenizer> make_byte_level_bpe(const ByteLevelBpe& parts);

/// GPT-2's pattern.
extern const char* const kGpt2Pattern;

}  // namespace retain
