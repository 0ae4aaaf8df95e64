#include "trainer/data/tokenizer/sentence_pieces.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "tests/trainer/data/token_files.h"

namespace retain {
namespace {

using testing::HasSubstr;

const char* const kWords[] = {"the",    "of",    "and",         "retention",    "rotates", "its",    "keys", "before",
                              "decay",  "chunk", "\xc3\xa9tat", "na\xc3\xafve", "int",     "main()", "{",    "}",
                              "return", "0;",    "42"};

std::function<std::optional<std::string>()> some_lines(int count) {
  return [count, random = std::mt19937(7)]() mutable -> std::optional<std::string> {
    if (count-- == 0) return std::nullopt;
    std::string line(random() % 3 * 2, ' ');
    for (int i = 0; i < 8; ++i) line += kWords[random() % std::size(kWords)] + std::string(" ");
    return line;
  };
}

class SentencePieces : public testing::Test {
 protected:
  void SetUp() override {
    if (!have_sentence_pieces()) GTEST_SKIP() << "this build has no SentencePiece";
  }
  std::unique_ptr<Tokenizer> train() {
    model_ = train_sentence_pieces(some_lines(400), 340);
    write_file(folder_.file("tokenizer.model"), model_);
    return make_tokenizer(folder_.file(""));
  }

  const TestFolder folder_;
  std::string model_;
};

TEST_F(SentencePieces, AreTrainedToTheSameBytesEachTime) {
  const auto tokenizer = train();
  EXPECT_EQ(tokenizer->vocab_size(), 340);
  EXPECT_EQ(tokenizer->end_of_document(), 1);
  EXPECT_LT(tokenizer->encode("the retention of keys").size(), 8U);
  const std::string first = model_;
  train();
  EXPECT_TRUE(model_ == first);
}

TEST_F(SentencePieces, DecodeAnyTextThatTheyEncode) {
  const auto tokenizer = train();
  std::mt19937 random(5);
  const std::vector<std::string> parts = {" ",
                                          "  ",
                                          "\n",
                                          "\t",
                                          "\r\n",
                                          "the",
                                          "int",
                                          "\xc3\xa9",
                                          "\xe6\xbc\xa2",
                                          "\xf0\x9f\x98\x80",
                                          "\xe2\x80\x8b",
                                          "\xc2\xa0",
                                          "e\xcc\x81",
                                          "A",
                                          "<s>",
                                          "</s>",
                                          "<|endoftext|>",
                                          "<unk>",
                                          "<0x0A>",
                                          std::string(1, '\x01')};
  for (int i = 0; i < 500; ++i) {
    std::string text;
    for (uint32_t n = random() % 20; n > 0; --n) text += parts[random() % parts.size()];
    const std::vector<int32_t> tokens = tokenizer->encode(text);
    EXPECT_EQ(tokenizer->decode(tokens), text) << testing::PrintToString(text);
    EXPECT_THAT(tokens, testing::Not(testing::Contains(1))) << testing::PrintToString(text);
    int64_t bytes = 0;
    for (const int32_t token : tokens) bytes += tokenizer->text_bytes(token).value();
    EXPECT_EQ(bytes, static_cast<int64_t>(text.size())) << testing::PrintToString(text);
  }
  EXPECT_EQ(tokenizer->decode(std::vector<int32_t>{1}), "");
  EXPECT_EQ(tokenizer->text_bytes(340), std::nullopt);
}

TEST_F(SentencePieces, WhatIsCutIsEncodedAsInOnePiece) {
  const auto tokenizer = train();
  auto next = some_lines(40);
  size_t cuts = 0;
  EXPECT_EQ(tokenizer->cut("main()\n{"), 7U);
  while (auto line = next()) {
    line->insert(line->find(' ', line->size() / 2), "\n\n");
    const std::vector<int32_t> whole = tokenizer->encode(*line);
    for (size_t seen = 0; seen <= line->size(); ++seen) {
      const size_t cut = tokenizer->cut(line->substr(0, seen));
      std::vector<int32_t> parts = tokenizer->encode(line->substr(0, cut));
      const std::vector<int32_t> rest = tokenizer->encode(line->substr(cut));
      parts.insert(parts.end(), rest.begin(), rest.end());
      ASSERT_EQ(parts, whole) << *line << " cut at " << cut;
      cuts += cut > 0 ? 1 : 0;
    }
  }
  EXPECT_GT(cuts, 1000U);
}

TEST_F(SentencePieces, TakeNothingButUtf8) {
  const auto tokenizer = train();
  EXPECT_THAT(message_of(ErrorKind::kData, [&] { tokenizer->encode("ab\xff"); }),
              HasSubstr("tokenizer.model: encodes UTF-8 alone, which byte 2 of the text is not"));
}

TEST_F(SentencePieces, SayWhatIsWrong) {
  write_file(folder_.file("x.model"), "none");
  EXPECT_THAT(message_of(ErrorKind::kData, [&] { make_tokenizer(folder_.file("x.model")); }),
              HasSubstr("x.model: is no model of SentencePiece"));
  EXPECT_THAT(message_of(ErrorKind::kData, [&] { train_sentence_pieces(some_lines(20), 20000); }),
              HasSubstr("the tokenizer cannot be trained"));
}

}  // namespace
}  // namespace retain
