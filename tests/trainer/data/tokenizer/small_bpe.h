// A small byte-level BPE, and text that its merges are in.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "trainer/data/tokenizer/byte_level_bpe.h"

namespace retain {

// 256 bytes, then "he", "ll", "hell", "hello", " w", "or", " wor", "ld", "aa", "aaaa", "\xe2\x80" and "  ".
inline ByteLevelBpe small_bpe() {
  ByteLevelBpe parts{.name = "small", .vocabulary = {}, .merges = {}, .patterns = {kGpt2Pattern}, .added = {}};
  for (int byte = 0; byte < 256; ++byte) parts.vocabulary[std::string(1, static_cast<char>(byte))] = byte;
  const std::vector<std::pair<std::string, std::string>> merges = {
      {"h", "e"},   {"l", "l"}, {"he", "ll"}, {"hell", "o"}, {" ", "w"},       {"o", "r"},
      {" w", "or"}, {"l", "d"}, {"a", "a"},   {"aa", "aa"},  {"\xe2", "\x80"}, {" ", " "}};
  for (const auto& merge : merges) {
    parts.merges.push_back(merge);
    parts.vocabulary.emplace(merge.first + merge.second, static_cast<int32_t>(parts.vocabulary.size()));
  }
  parts.end_of_document = 300;
  parts.added.push_back({.id = 300, .text = "<|endoftext|>", .special = true});
  return parts;
}

// Letters, blanks, marks, characters of two to four bytes, and, where it is broken, bytes that are none.
inline std::string random_text(std::mt19937& random, int parts, bool broken) {
  static const std::vector<std::string> kParts = {"h",
                                                  "e",
                                                  "l",
                                                  "o",
                                                  "hello",
                                                  " world",
                                                  " ",
                                                  "  ",
                                                  "\n",
                                                  "\t",
                                                  "'s",
                                                  "'ll",
                                                  "12",
                                                  "a",
                                                  "aaaa",
                                                  "\xc3\xa9",
                                                  "\xe6\xbc\xa2",
                                                  ".",
                                                  "!?",
                                                  "\xe2\x80\x99",
                                                  "\xc2\xa0",
                                                  "\xf0\x9f\x98\x80",
                                                  "<|endoftext|>",
                                                  "<tab>",
                                                  "<tab",
                                                  "\xe1\xa0\x8e",
                                                  "\xff",
                                                  "\xe6\xbc",
                                                  "\xc3"};
  std::string text;
  const size_t known = kParts.size() - (broken ? 0 : 3);
  for (int i = 0; i < parts; ++i) text += kParts[random() % known];
  return text;
}

}  // namespace retain
