#include "trainer/data/tokenizer/facts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "parallel/agreement.h"
#include "parallel/threads/run_ranks.h"
#include "tests/trainer/data/token_files.h"
#include "tests/trainer/data/tokenizer/small_bpe.h"

namespace retain {
namespace {

TEST(TokenizerFacts, AreWhatTheTokenizerSays) {
  const auto tokenizer = make_byte_level_bpe(small_bpe());
  const TokenizerFacts facts = facts_of(*tokenizer);
  EXPECT_EQ(facts.vocab_size(), 301);
  EXPECT_EQ(facts.end_of_document, 300);
  EXPECT_EQ(facts.fingerprint, tokenizer->fingerprint());
  for (int32_t token = -1; token <= 301; ++token) {
    EXPECT_EQ(facts.text_bytes(token), tokenizer->text_bytes(token)) << token;
  }
}

TEST(TokenizerFacts, ComeFromRankZeroWhichAloneReadsTheFiles) {
  const TestFolder folder;
  std::string vocabulary = "{\"<|endoftext|>\": 256", letters;
  for (int byte = 0; byte < 256; ++byte) {
    const bool seen = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    const int letter = seen ? byte : 256 + static_cast<int>(letters.size());
    if (!seen) letters += 'x';
    std::string key;
    if (letter == '"' || letter == '\\') key = "\\";
    if (letter < 0x80)
      key += static_cast<char>(letter);
    else
      key += {static_cast<char>(0xc0 | letter >> 6), static_cast<char>(0x80 | (letter & 0x3f))};
    vocabulary += concat(", \"", key, "\": ", byte);
  }
  write_file(folder.file("vocab.json"), vocabulary + "}");
  write_file(folder.file("merges.txt"), "#version: 0.2\n");
  std::vector<std::shared_ptr<const TokenizerFacts>> facts(3);
  run_ranks(3, [&](Communicator& host) {
    // The others are told a name that leads nowhere, as where a folder is not mounted.
    facts[static_cast<size_t>(host.rank())] =
        tokenizer_facts(host, host.rank() == 0 ? folder.file("") : folder.file("elsewhere"));
  });
  for (const auto& known : facts) {
    EXPECT_EQ(known->vocab_size(), 257);
    EXPECT_EQ(known->end_of_document, 256);
    EXPECT_EQ(known->fingerprint, facts[0]->fingerprint);
    EXPECT_EQ(known->bytes, facts[0]->bytes);
  }
  EXPECT_EQ(facts[2]->text_bytes(65), 1);
  EXPECT_EQ(facts[2]->text_bytes(256), 0);
}

TEST(TokenizerFacts, OfNoTokenizerAreAnErrorOfAllRanks) {
  std::vector<std::string> messages(2);
  run_ranks(2, [&](Communicator& host) {
    try {
      tokenizer_facts(host, "/nowhere");
    } catch (const SharedError& error) {
      messages[static_cast<size_t>(host.rank())] = error.what();
    }
  });
  for (const std::string& message : messages)
    EXPECT_THAT(message, testing::HasSubstr("tokenizer '/nowhere': there is no such file or folder"));
}

}  // namespace
}  // namespace retain
