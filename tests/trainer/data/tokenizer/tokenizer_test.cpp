#include "trainer/data/tokenizer/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/trainer/data/token_files.h"

namespace retain {
namespace {

TEST(Tokenizer, BytesAreTheirOwnTokens) {
  const auto tokenizer = make_tokenizer("bytes");
  EXPECT_EQ(tokenizer->name(), "bytes");
  EXPECT_EQ(tokenizer->vocab_size(), 257);
  EXPECT_EQ(tokenizer->end_of_document(), 256);
  EXPECT_EQ(tokenizer->encode("a\xc3\xa9"), (std::vector<int32_t>{97, 0xc3, 0xa9}));
}

TEST(Tokenizer, DecodesWhatItEncodes) {
  const auto tokenizer = make_tokenizer("bytes");
  std::string text;
  for (int byte = 0; byte < 256; ++byte) text += static_cast<char>(byte);
  EXPECT_EQ(tokenizer->decode(tokenizer->encode(text)), text);
  EXPECT_EQ(tokenizer->decode(std::vector<int32_t>{97, 256, 98}), "ab");
  for (const int32_t token : {-1, 257}) {
    EXPECT_THAT(message_of(ErrorKind::kData, [&] { tokenizer->decode(std::span(&token, 1)); }),
                testing::HasSubstr(std::to_string(token)));
  }
}

TEST(Tokenizer, KnowsTheBytesOfEachTokensText) {
  const auto tokenizer = make_tokenizer("bytes");
  EXPECT_EQ(tokenizer->text_bytes(0), 1);
  EXPECT_EQ(tokenizer->text_bytes(255), 1);
  EXPECT_EQ(tokenizer->text_bytes(256), 0);
  EXPECT_EQ(tokenizer->text_bytes(257), std::nullopt);
  EXPECT_EQ(tokenizer->text_bytes(-1), std::nullopt);
}

TEST(Tokenizer, SaysWhatThereIsForAnUnknownName) {
  EXPECT_THAT(message_of(ErrorKind::kMissingInput, [] { make_tokenizer("byte"); }),
              testing::HasSubstr("tokenizer 'byte': there is no such file or folder; want tokenizer.json"));
}

}  // namespace
}  // namespace retain
