#include "trainer/data/tokenizer/text_stream.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernels/core/text.h"
#include "tests/trainer/data/tokenizer/small_bpe.h"

namespace retain {
namespace {

using testing::ElementsAre;
using Tokens = std::vector<int32_t>;

std::vector<std::string> stream_of(const Tokenizer& tokenizer, const Tokens& tokens) {
  TextStream stream(tokenizer, Tokens{});
  std::vector<std::string> texts;
  for (const int32_t token : tokens) texts.push_back(stream.add(token));
  texts.push_back(stream.rest());
  return texts;
}

TEST(TextStream, ACharacterComesWithItsLastToken) {
  const auto tokenizer = make_byte_tokenizer();
  EXPECT_THAT(stream_of(*tokenizer, {'a', 0xc3, 0xa9, 0xf0, 0x9f, 0x98, 0x80, '!'}),
              ElementsAre("a", "", "\xc3\xa9", "", "", "", "\xf0\x9f\x98\x80", "!", ""));
}

TEST(TextStream, WhatIsNoCharacterIsNotHeldBackForLong) {
  const auto tokenizer = make_byte_tokenizer();
  EXPECT_THAT(stream_of(*tokenizer, {0xff, 'a', 0xe6, 'b', 0x80}), ElementsAre("\xff", "a", "",
                                                                               "\xe6"
                                                                               "b",
                                                                               "\x80", ""));
  EXPECT_THAT(stream_of(*tokenizer, {'a', 0xe6, 0xbc}), ElementsAre("a", "", "", "\xe6\xbc"));
}

TEST(TextStream, IsTheTextInWholeCharacters) {
  const auto tokenizer = make_byte_level_bpe(small_bpe());
  std::mt19937 random(6);
  for (int i = 0; i < 300; ++i) {
    const std::string text = random_text(random, 12, i % 2 == 0);
    std::string all;
    for (const std::string& part : stream_of(*tokenizer, tokenizer->encode(text))) {
      all += part;
      for (size_t at = 0; i % 2 == 1 && at < part.size();) {
        ASSERT_GT(utf8_length(part, at), 0U) << testing::PrintToString(part);
        at += utf8_length(part, at);
      }
    }
    EXPECT_EQ(all, text);
  }
}

// As SentencePiece's models that put a blank before a text: its first one is not shown.
class BlankFirst final : public Tokenizer {
 public:
  std::string_view name() const override { return "blank first"; }
  std::string fingerprint() const override { return "0"; }
  int64_t vocab_size() const override { return 128; }
  int32_t end_of_document() const override { return 0; }
  Tokens encode(std::string_view text) const override { return {text.begin(), text.end()}; }
  std::string decode(std::span<const int32_t> tokens) const override {
    std::string text(tokens.begin(), tokens.end());
    return text.starts_with(' ') ? text.substr(1) : text;
  }
  std::optional<int64_t> text_bytes(int32_t) const override { return 1; }
  size_t cut(std::string_view) const override { return 0; }
};

TEST(TextStream, TokensMeanWhatTheyMeanBehindThoseBefore) {
  const BlankFirst tokenizer;
  TextStream stream(tokenizer, Tokens{'a', 'b', 'c', 'd', 'e', 'f'});
  EXPECT_EQ(stream.add(' '), " ");
  EXPECT_EQ(stream.add('g'), "g");
  EXPECT_EQ(stream.add(' '), " ");
  TextStream first(tokenizer, Tokens{});
  EXPECT_EQ(first.add(' '), "");
  EXPECT_EQ(first.add('g'), "g");
}

}  // namespace
}  // namespace retain
