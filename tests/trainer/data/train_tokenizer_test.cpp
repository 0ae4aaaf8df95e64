#include "trainer/data/train_tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "tests/trainer/data/token_files.h"
#include "trainer/data/tokenizer/sentence_pieces.h"

namespace retain {
namespace {

using testing::HasSubstr;

class TrainTokenizer : public testing::Test {
 protected:
  void SetUp() override {
    if (!have_sentence_pieces()) GTEST_SKIP() << "this build has no SentencePiece";
  }
  static std::string text(int words, unsigned seed) {
    static const char* const kWords[] = {"retention", "decays", "over", "a",          "sequence",
                                         "in",        "chunks", "\n",   "caf\xc3\xa9"};
    std::mt19937 random(seed);
    std::string all;
    for (int i = 0; i < words; ++i) all += concat(kWords[random() % std::size(kWords)], " ");
    return all;
  }
  std::string input(const std::string& name, const std::string& bytes) const {
    write_file(folder_.file(name), bytes);
    return folder_.file(name);
  }
  TrainedTokenizer train(const std::vector<std::string>& inputs, int64_t sample_bytes = 1 << 20) const {
    return train_tokenizer(inputs, folder_.file("out/of"), {.vocab_size = 300, .sample_bytes = sample_bytes});
  }
  const TestFolder folder_;
};

TEST_F(TrainTokenizer, WritesAModelThatIsTheSameEachTime) {
  const std::string plain = input("a.txt", text(4000, 1));
  const TrainedTokenizer first = train({plain});
  EXPECT_EQ(first.path, folder_.file("out/of/tokenizer.model"));
  EXPECT_EQ(first.text_bytes, first.sampled_bytes);
  const std::string model = read_file(first.path);
  train({plain});
  EXPECT_TRUE(read_file(first.path) == model);
  const auto tokenizer = make_tokenizer(folder_.file("out/of"));
  EXPECT_EQ(tokenizer->vocab_size(), 300);
  EXPECT_EQ(tokenizer->decode(tokenizer->encode("caf\xc3\xa9 decays\n\n  over")), "caf\xc3\xa9 decays\n\n  over");
  EXPECT_LE(tokenizer->encode("retention").size(), 3U);
}

TEST_F(TrainTokenizer, TakesItsSampleEvenlyFromAllOfTheText) {
  // A letter of the second half alone, often enough to be known, has a token of its own.
  std::string half;
  for (int i = 0; i < 20'000; ++i) half += "caf\xc3\xa9 \xc3\xbf\xc3\xbf\n";
  const TrainedTokenizer trained = train({input("a.txt", text(30'000, 2)), input("b.txt", half)}, 65'536);
  EXPECT_LE(trained.sampled_bytes, 65'536);
  EXPECT_GE(trained.sampled_bytes, 16'384);
  EXPECT_LE(make_tokenizer(folder_.file("out/of"))->encode(" \xc3\xbf\xc3\xbf").size(), 3U);
}

TEST_F(TrainTokenizer, ReadsJsonLinesAndLongLines) {
  const TrainedTokenizer trained = train(
      {input("a.jsonl", "{\"text\": \"" + std::string(20'000, 'x') + " retention\"}\n{\"text\": \"caf\xc3\xa9\"}\n"),
       input("b.txt", text(3000, 3))});
  EXPECT_GT(trained.text_bytes, 20'000);
}

TEST_F(TrainTokenizer, SaysWhatItCannotUse) {
  EXPECT_THAT(message_of(ErrorKind::kMissingInput, [&] { train({folder_.file("none")}); }), HasSubstr("none"));
  EXPECT_THAT(message_of(ErrorKind::kData, [&] { train({input("empty", "")}); }), HasSubstr("hold no text"));
  EXPECT_THAT(message_of(ErrorKind::kData, [&] { train({input("latin", "d\xe9j\xe0 vu")}); }), HasSubstr("Latin-1"));
  EXPECT_THAT(message_of(ErrorKind::kData, [&] { train({input("few", "abc abd\n")}); }),
              HasSubstr("the tokenizer cannot be trained"));
}

}  // namespace
}  // namespace retain
