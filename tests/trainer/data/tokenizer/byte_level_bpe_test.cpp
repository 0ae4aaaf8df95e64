#include "trainer/data/tokenizer/byte_level_bpe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>
#include <random>

#include "tests/trainer/data/token_files.h"
#include "tests/trainer/data/tokenizer/small_bpe.h"

namespace retain {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using Tokens = std::vector<int32_t>;

// As the paper says it: the pair of neighbours that comes first in the list is merged wherever it stands.
Tokens merge_slowly(const ByteLevelBpe& parts, const std::string& piece) {
  std::vector<std::string> symbols;
  for (const char c : piece) symbols.emplace_back(1, c);
  for (bool merged = true; merged;) {
    merged = false;
    for (const auto& [left, right] : parts.merges) {
      for (size_t i = 0; i + 1 < symbols.size(); ++i) {
        if (symbols[i] != left || symbols[i + 1] != right) continue;
        symbols[i] += symbols[i + 1];
        symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(i) + 1);
        merged = true;
      }
      if (merged) break;
    }
  }
  Tokens tokens;
  for (const std::string& symbol : symbols) tokens.push_back(parts.vocabulary.at(symbol));
  return tokens;
}

TEST(ByteLevelBpe, MergesWhatComesFirstInTheList) {
  const auto tokenizer = make_byte_level_bpe(small_bpe());
  EXPECT_EQ(tokenizer->vocab_size(), 301);
  EXPECT_THAT(tokenizer->encode("hello world"), ElementsAre(259, 262, 263));
  EXPECT_THAT(tokenizer->encode("hell"), ElementsAre(258));
  EXPECT_THAT(tokenizer->encode("aaaaaaa"), ElementsAre(265, 264, 'a'));
  EXPECT_THAT(tokenizer->encode(""), ElementsAre());
}

TEST(ByteLevelBpe, MergesAPieceAsTheSlowWayDoes) {
  ByteLevelBpe parts = small_bpe();
  parts.patterns.clear();
  const auto tokenizer = make_byte_level_bpe(parts);
  std::mt19937 random(1);
  for (int i = 0; i < 500; ++i) {
    const std::string text = random_text(random, 1 + static_cast<int>(random() % 12), false);
    EXPECT_EQ(tokenizer->encode(text), merge_slowly(parts, text)) << text;
  }
}

TEST(ByteLevelBpe, PiecesAreThoseOfThePattern) {
  const auto tokenizer = make_byte_level_bpe(small_bpe());
  // No merge crosses from one piece into the next: of two blanks the second belongs to the word.
  EXPECT_THAT(tokenizer->encode("a  world"), ElementsAre('a', ' ', 262, 263));
  EXPECT_THAT(tokenizer->encode("a  "), ElementsAre('a', 267));
}

TEST(ByteLevelBpe, BlanksAreThoseOfUnicode) {
  const auto tokenizer = make_byte_level_bpe(small_bpe());
  // U+180E is no White_Space, and a blank before what is neither letter, number nor blank joins it.
  EXPECT_EQ(tokenizer->decode(tokenizer->encode(" \xe1\xa0\x8e")), " \xe1\xa0\x8e");
  ByteLevelBpe parts = small_bpe();
  parts.patterns = {R"(\s+|\S+)"};
  parts.merges.emplace_back("a", "\xe1");
  parts.vocabulary.emplace("a\xe1", 290);
  EXPECT_THAT(make_byte_level_bpe(parts)->encode("a\xe1\xa0\x8e"), ElementsAre(290, 0xa0, 0x8e));
}

TEST(ByteLevelBpe, DecodesWhatItEncodesWhateverTheBytes) {
  ByteLevelBpe parts = small_bpe();
  parts.added.push_back({.id = 301, .text = "<tab>", .special = false});
  const auto tokenizer = make_byte_level_bpe(parts);
  std::string all;
  for (int byte = 0; byte < 256; ++byte) all += static_cast<char>(byte);
  EXPECT_EQ(tokenizer->decode(tokenizer->encode(all)), all);
  std::mt19937 random(2);
  for (int i = 0; i < 1000; ++i) {
    const std::string text = random_text(random, static_cast<int>(random() % 40), true);
    const Tokens tokens = tokenizer->encode(text);
    EXPECT_EQ(tokenizer->decode(tokens), text);
    int64_t bytes = 0;
    for (const int32_t token : tokens) bytes += tokenizer->text_bytes(token).value();
    EXPECT_EQ(bytes, static_cast<int64_t>(text.size()));
  }
}

TEST(ByteLevelBpe, TextNeverEndsADocument) {
  const auto tokenizer = make_byte_level_bpe(small_bpe());
  EXPECT_THAT(tokenizer->encode("<|endoftext|>"), testing::Not(testing::Contains(300)));
  EXPECT_EQ(tokenizer->decode(Tokens{'a', 300, 'b'}), "ab");
  EXPECT_EQ(tokenizer->text_bytes(300), 0);
}

TEST(ByteLevelBpe, AddedTokensAreFoundBeforeTextIsSplit) {
  ByteLevelBpe parts = small_bpe();
  parts.added.push_back({.id = 310, .text = "l w", .special = false});
  parts.added.push_back({.id = 311, .text = "l wo", .special = false});
  const auto tokenizer = make_byte_level_bpe(parts);
  EXPECT_THAT(tokenizer->encode("hell world"), ElementsAre(256, 'l', 311, 'r', 263));
  EXPECT_THAT(tokenizer->encode("hell war"), ElementsAre(256, 'l', 310, 'a', 'r'));
  EXPECT_EQ(tokenizer->text_bytes(305), std::nullopt);  // a number that no token has
  EXPECT_THAT(message_of(ErrorKind::kData, [&] { tokenizer->decode(Tokens{305}); }), HasSubstr("305"));
}

TEST(ByteLevelBpe, WhatIsCutIsEncodedAsInOnePiece) {
  ByteLevelBpe parts = small_bpe();
  parts.added.push_back({.id = 301, .text = "<tab>", .special = false});
  const auto tokenizer = make_byte_level_bpe(parts);
  std::mt19937 random(3);
  size_t cuts = 0;
  for (int i = 0; i < 300; ++i) {
    const std::string text = random_text(random, static_cast<int>(random() % 12), true);
    const Tokens whole = tokenizer->encode(text);
    for (size_t seen = 0; seen <= text.size(); ++seen) {
      const size_t cut = tokenizer->cut(text.substr(0, seen));
      ASSERT_LE(cut, seen);
      Tokens parts_of = tokenizer->encode(text.substr(0, cut));
      const Tokens rest = tokenizer->encode(text.substr(cut));
      parts_of.insert(parts_of.end(), rest.begin(), rest.end());
      ASSERT_EQ(parts_of, whole) << testing::PrintToString(text) << " cut at " << cut << " of " << seen;
      cuts += cut > 0 ? 1 : 0;
    }
  }
  EXPECT_GT(cuts, 1000U);
}

TEST(ByteLevelBpe, ALongPieceTakesNoLongerThanItsLength) {
  ByteLevelBpe parts = small_bpe();
  parts.patterns.clear();
  const std::string text(1 << 20, 'a');
  EXPECT_EQ(make_byte_level_bpe(parts)->encode(text).size(), text.size() / 4);
}

TEST(ByteLevelBpe, LongRunsOfOneKindAreSplitAsShortOnes) {
  const auto tokenizer = make_byte_level_bpe(small_bpe());
  for (const char* const one : {" ", "\n", "x", "7", "!", "\xe6\xbc\xa2"}) {
    std::string text = "a";
    while (text.size() < 3'000'000) text += one;
    const size_t cut = tokenizer->cut(text);
    EXPECT_LE(cut, 1U) << testing::PrintToString(one);
    EXPECT_EQ(tokenizer->decode(tokenizer->encode(text + "b")), text + "b") << testing::PrintToString(one);
  }
}

TEST(ByteLevelBpe, TheFingerprintIsOfWhatDecidesTokensAndText) {
  const std::string fingerprint = make_byte_level_bpe(small_bpe())->fingerprint();
  EXPECT_EQ(fingerprint.size(), 16U);
  ByteLevelBpe other = small_bpe();
  other.name = "elsewhere";
  EXPECT_EQ(make_byte_level_bpe(other)->fingerprint(), fingerprint);
  std::swap(other.merges[0], other.merges[1]);
  EXPECT_NE(make_byte_level_bpe(other)->fingerprint(), fingerprint);
  other = small_bpe();
  other.patterns = {R"(\s+|\S+)"};
  EXPECT_NE(make_byte_level_bpe(other)->fingerprint(), fingerprint);
  other = small_bpe();
  other.added.push_back({.id = 301, .text = "<tab>", .special = false});
  EXPECT_NE(make_byte_level_bpe(other)->fingerprint(), fingerprint);
  other = small_bpe();
  other.end_of_document = 0;
  EXPECT_NE(make_byte_level_bpe(other)->fingerprint(), fingerprint);
}

TEST(ByteLevelBpe, RefusesWhatIsNotWhole) {
  ByteLevelBpe parts = small_bpe();
  parts.vocabulary.erase("\x07");
  EXPECT_THAT(message_of(ErrorKind::kData, [&] { make_byte_level_bpe(parts); }), HasSubstr("byte 7 is no token"));
  parts = small_bpe();
  parts.merges.emplace_back("x", "y");
  EXPECT_THAT(message_of(ErrorKind::kData, [&] { make_byte_level_bpe(parts); }), HasSubstr("merge 13 has 'xy'"));
  parts = small_bpe();
  parts.patterns = {"(a"};
  EXPECT_THAT(message_of(ErrorKind::kData, [&] { make_byte_level_bpe(parts); }), HasSubstr("small: the pattern '(a'"));
}

// The letters of GPT-2's files, for what the small vocabulary holds.
std::string in_letters(const std::string& bytes) {
  std::string letters;
  int next = 0;
  std::map<int, int> unseen;
  for (int byte = 0; byte < 256; ++byte) {
    const bool seen = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    if (!seen) unseen[byte] = 256 + next++;
  }
  for (const char c : bytes) {
    const int byte = static_cast<unsigned char>(c), letter = unseen.contains(byte) ? unseen[byte] : byte;
    if (letter < 0x80)
      letters += static_cast<char>(letter);
    else
      letters += {static_cast<char>(0xc0 | letter >> 6), static_cast<char>(0x80 | (letter & 0x3f))};
  }
  return letters;
}

class BpeFiles : public testing::Test {
 protected:
  BpeFiles() {
    for (const auto& [text, id] : parts_.vocabulary) vocabulary_[in_letters(text)] = id;
    for (const auto& [left, right] : parts_.merges) merges_.push_back(in_letters(left) + " " + in_letters(right));
  }

  nlohmann::json tokenizer_json() const {
    return {{"version", "1.0"},
            {"added_tokens", {{{"id", 300}, {"content", "<|endoftext|>"}, {"special", true}}}},
            {"normalizer", nullptr},
            {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}}},
            {"model", {{"type", "BPE"}, {"vocab", vocabulary_}, {"merges", merges_}}}};
  }
  std::string write(const nlohmann::json& json, const std::string& name = "tokenizer.json") const {
    write_file(folder_.file(name), json.dump());
    return folder_.file(name);
  }
  std::string refusal(const nlohmann::json& json) const {
    return message_of(ErrorKind::kData, [&] { make_tokenizer(write(json)); });
  }

  const ByteLevelBpe parts_ = small_bpe();
  nlohmann::json vocabulary_ = nlohmann::json::object(), merges_ = nlohmann::json::array();
  const TestFolder folder_;
};

TEST_F(BpeFiles, OfEitherKindSayTheSame) {
  write(tokenizer_json());
  vocabulary_["<|endoftext|>"] = 300;
  std::filesystem::create_directory(folder_.file("gpt2"));
  write(vocabulary_, "gpt2/vocab.json");
  std::string lines = "#version: 0.2\n";
  for (const auto& merge : merges_) lines += merge.get<std::string>() + "\n";
  write_file(folder_.file("gpt2/merges.txt"), lines);

  const auto made = make_byte_level_bpe(parts_);
  std::mt19937 random(4);
  for (const char* const name : {"tokenizer.json", "gpt2", "gpt2/vocab.json", "gpt2/merges.txt", ""}) {
    const auto read = make_tokenizer(folder_.file(name));
    EXPECT_EQ(read->vocab_size(), 301);
    EXPECT_EQ(read->end_of_document(), 300);
    EXPECT_EQ(read->fingerprint(), made->fingerprint());
    for (int i = 0; i < 50; ++i) {
      const std::string text = random_text(random, 20, true);
      EXPECT_EQ(read->encode(text), made->encode(text));
    }
  }
}

TEST_F(BpeFiles, PreTokenizersAreAppliedOneAfterTheOther) {
  nlohmann::json json = tokenizer_json();
  json["pre_tokenizer"] = {
      {"type", "Sequence"},
      {"pretokenizers",
       {{{"type", "Digits"}, {"individual_digits", true}},
        {{"type", "Split"}, {"pattern", {{"Regex", "hel|lo"}}}, {"behavior", "Isolated"}, {"invert", false}},
        {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}}}}};
  json["model"]["merges"].push_back(nlohmann::json::array({"1", "2"}));
  json["model"]["vocab"]["12"] = 280;
  EXPECT_THAT(make_tokenizer(write(json))->encode("12hello"), ElementsAre('1', '2', 256, 'l', 'l', 'o'));
}

TEST_F(BpeFiles, TheConfigurationNamesTheEndOfDocuments) {
  nlohmann::json json = tokenizer_json();
  json["added_tokens"].push_back({{"id", 302}, {"content", "<stop>"}, {"special", false}});
  write({{"eos_token", {{"content", "<stop>"}}}}, "tokenizer_config.json");
  EXPECT_EQ(make_tokenizer(write(json))->end_of_document(), 302);
  write({{"eos_token", "<none>"}}, "tokenizer_config.json");
  EXPECT_THAT(refusal(json), HasSubstr("tokenizer_config.json: eos_token is '<none>', which "));
  std::filesystem::remove(folder_.file("tokenizer_config.json"));
  json["added_tokens"].clear();
  EXPECT_THAT(refusal(json), HasSubstr("no token is known to end documents"));
}

TEST_F(BpeFiles, RefuseOtherKindsByName) {
  nlohmann::json json = tokenizer_json();
  json["model"]["type"] = "WordPiece";
  EXPECT_THAT(refusal(json), HasSubstr("model.type is 'WordPiece'"));
  json = tokenizer_json();
  json["normalizer"] = {{"type", "NFKC"}};
  EXPECT_THAT(refusal(json), HasSubstr("normalizer.type is 'NFKC'"));
  json = tokenizer_json();
  json["pre_tokenizer"]["type"] = "Metaspace";
  EXPECT_THAT(refusal(json), HasSubstr("pre_tokenizer.type is 'Metaspace'"));
  json = tokenizer_json();
  json["pre_tokenizer"]["add_prefix_space"] = true;
  EXPECT_THAT(refusal(json), HasSubstr("add_prefix_space"));
  json = tokenizer_json();
  json["added_tokens"].push_back({{"id", 301}, {"content", "x"}, {"special", false}, {"lstrip", true}});
  EXPECT_THAT(refusal(json), HasSubstr("added token 'x' has lstrip"));
  json = tokenizer_json();
  json["model"]["merges"].push_back("one");
  EXPECT_THAT(refusal(json), HasSubstr("tokenizer.json: merge 13: 'one' is no merge"));
  write_file(folder_.file("tokenizer.json"), "{");
  EXPECT_THAT(message_of(ErrorKind::kData, [&] { make_tokenizer(folder_.file("tokenizer.json")); }),
              HasSubstr("tokenizer.json: is no JSON: byte 2"));
}

TEST_F(BpeFiles, MissingOnesAreNamed) {
  EXPECT_THAT(message_of(ErrorKind::kMissingInput, [&] { make_tokenizer(folder_.file("")); }),
              HasSubstr("the folder has no tokenizer.json, vocab.json with merges.txt"));
  write(vocabulary_, "vocab.json");
  EXPECT_THAT(message_of(ErrorKind::kMissingInput, [&] { make_tokenizer(folder_.file("")); }),
              HasSubstr("merges.txt: there is no such file beside "));
}

}  // namespace
}  // namespace retain
