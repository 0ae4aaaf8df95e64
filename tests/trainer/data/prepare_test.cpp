#include "trainer/data/prepare.h"

#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>
#include <random>
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "parallel/agreement.h"
#include "tests/trainer/data/token_files.h"
#include "tests/trainer/data/tokenizer/small_bpe.h"

namespace retain {
namespace {

using testing::HasSubstr;

std::vector<int32_t> tokens_of(const std::string& prefix) {
  const TokenSet set(prefix, 257);
  std::vector<int32_t> tokens(static_cast<size_t>(set.tokens()));
  set.read(0, tokens);
  return tokens;
}

class Prepare : public testing::Test {
 protected:
  std::string input(const std::string& name, const std::string& text) const {
    write_file(folder_.file(name), text);
    return folder_.file(name);
  }
  PrepareSummary prepare(const std::vector<std::string>& inputs, const PrepareOptions& options) const {
    return prepare_tokens(inputs, folder_.file("out/set"), *tokenizer_, options);
  }
  PrepareSummary prepare(const std::vector<std::string>& inputs, double holdout = 0,
                         const std::optional<std::string>& text_key = {}) const {
    return prepare(inputs, {.holdout_fraction = holdout, .text_key = text_key});
  }
  /// Of a file whose text comes in this encoding; its tokens as text.
  std::string text_of(const std::string& text, const std::string& encoding, const std::string& name = "a.txt") const {
    prepare({input(name, text)}, {.encoding = encoding});
    return tokenizer_->decode(tokens_of(folder_.file("out/set")));
  }
  std::string refusal(const std::string& text, const std::string& encoding = "", const std::string& name = "a.txt",
                      ErrorKind kind = ErrorKind::kData) const {
    return message_of(kind, [&] { text_of(text, encoding, name); });
  }
  std::string complaint(const std::string& json_lines, const std::optional<std::string>& text_key = {}) const {
    return message_of(ErrorKind::kData, [&] { prepare({input("a.jsonl", json_lines)}, 0, text_key); });
  }
  const TestFolder folder_;
  const std::unique_ptr<Tokenizer> tokenizer_ = make_tokenizer("bytes");
};

TEST_F(Prepare, MakesOneDocumentOfEachFile) {
  const PrepareSummary summary = prepare({input("a", "abc"), input("empty", ""), input("b", "z")});
  EXPECT_EQ(summary.text_bytes, 4);
  ASSERT_EQ(summary.sets.size(), 1);
  EXPECT_EQ(summary.sets[0].tokens, 6);
  EXPECT_EQ(summary.sets[0].documents, 2);
  EXPECT_EQ(tokens_of(folder_.file("out/set")), (std::vector<int32_t>{'a', 'b', 'c', 256, 'z', 256}));
  EXPECT_EQ(TokenSet(folder_.file("out/set")).documents(), 2);
}

TEST_F(Prepare, StreamsTextLargerThanItsBlocks) {
  std::string text;
  for (int i = 0; text.size() < 2'500'000; ++i) text += std::to_string(i);
  prepare({input("a", text)});
  std::vector<int32_t> tokens = tokens_of(folder_.file("out/set"));
  ASSERT_EQ(tokens.size(), text.size() + 1);
  EXPECT_EQ(tokenizer_->decode(tokens), text);
}

TEST_F(Prepare, MakesOneDocumentOfEachLineOfJson) {
  const std::string lines =
      "{\"id\": 1, \"text\": \"a\\nb\"}\n"
      "\n  \r\n"
      "{\"text\": \"\"}\n"
      "{\"meta\": {\"text\": \"no\"}, \"text\": \"\\u00e9\"}\r\n"
      "{\"text\": \"last\"}";
  const PrepareSummary summary = prepare({input("a.jsonl", lines), input("b.txt", "{\"text\": 1}")});
  EXPECT_EQ(summary.sets[0].documents, 4);
  EXPECT_EQ(tokens_of(folder_.file("out/set")),
            (std::vector<int32_t>{'a', '\n', 'b', 256, 0xc3, 0xa9, 256, 'l', 'a', 's', 't', 256,  //
                                  '{', '"',  't', 'e', 'x',  't',  '"', ':', ' ', '1', '}', 256}));
  EXPECT_EQ(summary.text_bytes, 3 + 2 + 4 + 11);
  prepare({input("c.jsonl", "{\"text\": 5, \"content\": \"c\"}")}, 0, "content");
  EXPECT_EQ(tokens_of(folder_.file("out/set")), (std::vector<int32_t>{'c', 256}));
}

TEST_F(Prepare, TakesInputsAsJsonByTheirNamesOrBecauseAKeyIsGiven) {
  const std::string line = "{\"text\": \"t\", \"body\": \"b\"}\n";
  for (const char* name : {"a.jsonl", "a.JSONL", "a.ndjson"}) {
    prepare({input(name, line)});
    EXPECT_EQ(tokens_of(folder_.file("out/set")), (std::vector<int32_t>{'t', 256})) << name;
  }
  for (const char* name : {"a.json", "a.txt", "a"}) {
    prepare({input(name, line)}, 0, "body");
    EXPECT_EQ(tokens_of(folder_.file("out/set")), (std::vector<int32_t>{'b', 256})) << name;
  }
  std::istringstream pipe(line + line);
  std::streambuf* const before = std::cin.rdbuf(pipe.rdbuf());
  const PrepareSummary summary = prepare({"-"}, 0, "body");
  std::cin.rdbuf(before);
  EXPECT_EQ(summary.sets[0].documents, 2);

  const auto refusal = [&](const char* name, const std::optional<std::string>& text_key) {
    return message_of(ErrorKind::kData, [&] { prepare({input(name, line)}, 0, text_key); });
  };
  EXPECT_THAT(refusal("a.json", {}), HasSubstr("--text-key KEY"));
  EXPECT_THAT(refusal("a.jsonl.gz", {}), HasSubstr("is compressed"));
  EXPECT_THAT(refusal("a.jsonl.ZST", "body"), HasSubstr("is compressed"));
}

TEST_F(Prepare, NamesTheLineOfJsonThatItCannotUse) {
  const std::string good = "{\"text\": \"a\"}\n", file = folder_.file("a.jsonl");
  const std::string invalid = ": not valid JSON; each line must be one whole object";
  EXPECT_EQ(complaint(good + "\n{\"text\": \"a}\n"), file + ":3: byte 13" + invalid);
  EXPECT_EQ(complaint(good + "{\"text\": \"\xff\"}"),
            file +
                ":2: byte 11 (0xff) is not UTF-8 but perhaps Latin-1; --encoding latin-1 converts the text, "
                "--skip-bad N leaves up to N such lines out");
  for (const char* half : {"\\ud83d", "\\ude00", "\\ud83dx"}) {
    EXPECT_THAT(complaint(good + "{\"text\": \"ab" + half + "\"}"),
                testing::AllOf(testing::StartsWith(file + ":2: byte 1"), HasSubstr("half of a surrogate pair")));
  }
  EXPECT_EQ(complaint("{\n\"text\": \"a\"}"), file + ":1: byte 2" + invalid);
  EXPECT_EQ(complaint("{\"text\": \"" + std::string(200'000, 'x')), file + ":1: byte 200011" + invalid);
  EXPECT_EQ(complaint(good + "{\"text\": \"a\", \"n\": 1e999}"), file + ":2: holds a number that is out of range");
  EXPECT_EQ(complaint("[\"a\"]"), file + ":1: holds no object but array");
  EXPECT_EQ(complaint("{}"), file + ":1: the object is empty");
  EXPECT_EQ(complaint("{\"text\": 7}"), file + ":1: 'text' is number, want a string");
  EXPECT_EQ(complaint("{\"id\": 7, \"con\\ntent\": \"a\"}"),
            file + ":1: has no 'text' but 'con\\x0atent', 'id' (--text-key names the one to take)");
  EXPECT_THAT(complaint(good,
                        "bo\x1b"
                        "dy"),
              HasSubstr("has no 'bo\\x1b"
                        "dy' but 'text' ("));
  std::string many = "{";
  for (int i = 0; i < 500; ++i) many += concat(i ? "," : "", "\"k", i, "\":0");
  EXPECT_THAT(complaint(many + "}"), HasSubstr("'k103', 'k104', ... (--text-key"));
  EXPECT_THAT(complaint("\n{\"text\": \"\"}\n"), HasSubstr("hold no text"));
  EXPECT_FALSE(std::filesystem::exists(folder_.file("out/set.bin")));
}

TEST_F(Prepare, CountsWhatIsEmptyAndNamesTheFirst) {
  const PrepareSummary summary =
      prepare({input("a.jsonl", "{\"text\": \"\"}\n\n{\"text\": \"abc\"}\n{\"text\": \"\"}\n"), input("b", "")});
  EXPECT_EQ(summary.empty_documents.count, 3);
  EXPECT_EQ(summary.empty_documents.first,
            (std::vector<std::string>{folder_.file("a.jsonl:1"), folder_.file("a.jsonl:4"), folder_.file("b")}));
  EXPECT_EQ(summary.sets[0].documents, 1);
  EXPECT_EQ(summary.bad_lines.count, 0);
}

TEST_F(Prepare, LeavesOutAsManyBadLinesAsItMay) {
  const std::string lines =
      "{\"text\": \"a\"}\n{\"text\": null}\nno\n{\"text\": \"\xff\"}\n{\"text\": \"\\ud83d\"}\n{\"body\": \"x\"}\n"
      "{\"text\": \"b\"}";
  const PrepareSummary summary = prepare({input("a.jsonl", lines)}, {.skip_bad = 5});
  EXPECT_EQ(tokens_of(folder_.file("out/set")), (std::vector<int32_t>{'a', 256, 'b', 256}));
  EXPECT_EQ(summary.bad_lines.count, 5);
  ASSERT_EQ(summary.bad_lines.first.size(), 5);
  EXPECT_EQ(summary.bad_lines.first[0], folder_.file("a.jsonl") + ":2: 'text' is null, want a string");
  EXPECT_THAT(message_of(ErrorKind::kData, [&] { prepare({input("a.jsonl", lines)}, {.skip_bad = 4}); }),
              HasSubstr("a.jsonl:6: has no 'text' but 'body' (--text-key names the one to take) (4 bad lines were left "
                        "out before)"));
}

TEST_F(Prepare, TellsOtherEncodingsApartByName) {
  using namespace std::string_literals;
  const std::string place = folder_.file("a.txt"), wanted = ", want UTF-8; --encoding ";
  EXPECT_EQ(refusal("\xff\xfe"s + "a\0\n\0"s),
            place + ":1: is UTF-16 by its byte order mark" + wanted + "utf-16 converts it");
  EXPECT_EQ(refusal("\xfe\xff"s + "\0a"s),
            place + ":1: is UTF-16 by its byte order mark" + wanted + "utf-16 converts it");
  EXPECT_EQ(refusal("\xff\xfe\0\0a\0\0\0"s),
            place + ":1: is UTF-32 by its byte order mark" + wanted + "utf-32 converts it");
  EXPECT_EQ(refusal("a\0b\0c\0"s),
            place + ":1: looks like UTF-16 without a byte order mark" + wanted + "utf-16le converts it");
  EXPECT_EQ(refusal("\0a\0b\0c"s),
            place + ":1: looks like UTF-16 without a byte order mark" + wanted + "utf-16be converts it");
  EXPECT_EQ(refusal("\xef\xbb\xbftext"), place + ":1: begins with a byte order mark; --encoding utf-8 leaves it out");
  EXPECT_EQ(refusal("\xef\xbb\xbf{\"text\": \"a\"}", "", "b.jsonl"),
            folder_.file("b.jsonl") + ":1: begins with a byte order mark; --encoding utf-8 leaves it out");
  EXPECT_EQ(refusal("one\ntwo\nd\xe9j\xe0 vu\n"),
            place +
                ":3: byte 2 (0xe9) is not UTF-8 but perhaps Latin-1; --encoding latin-1 converts the text, "
                "--encoding bytes takes it as it is");
  EXPECT_THAT(refusal("\x93quoted\x94"), HasSubstr(":1: byte 1 (0x93) is not UTF-8 but perhaps Windows-1252"));
  EXPECT_THAT(refusal("cut short \xe2\x82"), HasSubstr(":1: byte 11 (0xe2) is not UTF-8"));
  EXPECT_FALSE(std::filesystem::exists(folder_.file("out/set.bin")));
}

TEST_F(Prepare, DoesNotCallUtf8WithABadByteAnotherEncoding) {
  const std::string good = "caf\xc3\xa9 na\xc3\xafve\n", place = folder_.file("a.txt") + ":2: byte ",
                    repair = "; iconv -c -f utf-8 -t utf-8 leaves such bytes out, --encoding bytes takes it as it is";
  EXPECT_EQ(refusal(good + "ok \xff caf\xc3\xa9"),
            place + "4 (0xff) is no character in a text that is UTF-8 so far" + repair);
  EXPECT_THAT(refusal(good + "ok \xff"), HasSubstr("(0xff) is no character"));
  EXPECT_EQ(refusal(good + "ok \xe2\x82"), place + "4 (0xe2) begins a character that is cut off" + repair);
  for (const std::string& before : {good, std::string("plain\n")}) {
    EXPECT_EQ(refusal(before + "ok \xed\xa0\x80 more"),
              concat(place, "4 (0xed) begins half of a surrogate pair, which is no character of UTF-8", repair));
  }
  // In JSONL what was seen in the lines before counts, too.
  const std::string lines = "{\"text\": \"caf\xc3\xa9\"}\n{\"text\": \"";
  EXPECT_EQ(refusal(lines + "\xe9\"}", "", "b.jsonl"),
            folder_.file("b.jsonl") +
                ":2: byte 11 (0xe9) is no character in a text that is UTF-8 so far; --skip-bad N "
                "leaves up to N such lines out");
  EXPECT_THAT(refusal(lines + "\xe2\x82\n", "", "b.jsonl"), HasSubstr("(0xe2) begins a character that is cut off"));
  // What Windows-1252 does not have is not converted from it.
  EXPECT_EQ(refusal("a\n\x81"), place +
                                    "1 (0x81) is neither UTF-8 nor Latin-1 nor Windows-1252; --encoding NAME converts "
                                    "the text if it has another encoding, --encoding bytes takes it as it is");
}

TEST_F(Prepare, ConvertsOnRequest) {
  using namespace std::string_literals;
  const std::string text = "d\xc3\xa9j\xc3\xa0\n";
  EXPECT_EQ(text_of("d\xe9j\xe0\n", "latin-1"), text);
  EXPECT_EQ(text_of("d\xe9j\xe0\n", "Windows-1252"), text);
  EXPECT_EQ(text_of("\xff\xfe"
                    "d\0\xe9\0j\0\xe0\0\n\0"s,
                    "utf-16"),
            text);
  EXPECT_EQ(text_of("\xfe\xff\0d\0\xe9\0j\0\xe0\0\n"s, "UTF-16"), text);
  EXPECT_EQ(text_of("\xff\xfe"
                    "d\0\xe9\0j\0\xe0\0\n\0"s,
                    "utf-16le"),
            text);
  EXPECT_EQ(text_of("\xef\xbb\xbf" + text, "utf-8"), text);
  EXPECT_EQ(text_of(text, "UTF8"), text);
  EXPECT_EQ(text_of("\xef\xbb\xbf\xff\0"s, "bytes"), "\xef\xbb\xbf\xff\0"s);
  EXPECT_EQ(text_of("{\"text\": \"d\xe9j\xe0\\n\"}\n", "latin-1", "a.jsonl"), text);
  EXPECT_EQ(text_of("\xef\xbb\xbf{\"text\": \"a\"}", "utf-8", "a.jsonl"), "a");
  EXPECT_THAT(refusal("ab\nc\x81", "windows-1252"), HasSubstr("a.txt:2: byte 0x81 is no character of windows-1252"));
  EXPECT_THAT(refusal("\xff\xfe"
                      "a\0\n\0b"s,
                      "utf-16"),
              HasSubstr("a.txt:2: ends inside of a character of utf-16"));
  EXPECT_THAT(refusal("{}", "bytes", "a.jsonl", ErrorKind::kUsage), HasSubstr("a.jsonl: is JSONL"));
  EXPECT_THAT(refusal("a", "utf-9", "a.txt", ErrorKind::kUsage), HasSubstr("the encoding 'utf-9' is not known"));
}

TEST_F(Prepare, CharactersCutByItsBlocksStayWhole) {
  std::string text(1, 'x'), latin(1, 'x');  // so that blocks end inside of characters
  for (int i = 0; i < 800'000; ++i) {
    text += "\xe2\x82\xac";
    latin += "\x80";
  }
  EXPECT_EQ(text_of(text, ""), text);
  EXPECT_EQ(text_of(latin, "windows-1252"), text);
}

TEST_F(Prepare, HoldsTheLastDocumentsOut) {
  const PrepareSummary summary = prepare({input("a", "0123456"), input("b", "abcdefgh"), input("c", "xy")}, 0.4);
  // 8 + 9 + 3 = 20 tokens: of the last 8 the second document is nearest, whose end is one farther away than its begin.
  ASSERT_EQ(summary.sets.size(), 2);
  EXPECT_FALSE(summary.document_cut);
  EXPECT_EQ(summary.sets[0].prefix, folder_.file("out/set_train"));
  EXPECT_EQ(summary.sets[0].tokens, 8);
  EXPECT_EQ(summary.sets[0].documents, 1);
  EXPECT_EQ(summary.sets[1].tokens, 12);
  EXPECT_EQ(summary.sets[1].documents, 2);
  EXPECT_EQ(tokens_of(folder_.file("out/set_train")), (std::vector<int32_t>{'0', '1', '2', '3', '4', '5', '6', 256}));
  EXPECT_EQ(tokens_of(folder_.file("out/set_valid")),
            (std::vector<int32_t>{'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 256, 'x', 'y', 256}));
  for (const auto& entry : std::filesystem::directory_iterator(folder_.file("out"))) {
    EXPECT_THAT(entry.path().filename().string(), testing::StartsWith("set_"));
  }
}

TEST_F(Prepare, CutsADocumentWhereNoneBeginsNearTheHeldOutPart) {
  const PrepareSummary summary = prepare({input("a", "01"), input("b", std::string(30, 'b')), input("c", "xy")}, 0.4);
  EXPECT_TRUE(summary.document_cut);
  EXPECT_EQ(summary.sets[0].tokens, 22);  // of 37
  EXPECT_EQ(summary.sets[0].documents, 2);
  EXPECT_EQ(summary.sets[1].tokens, 15);
  EXPECT_EQ(summary.sets[1].documents, 2);
  EXPECT_EQ(tokens_of(folder_.file("out/set_valid")).back(), 256);
}

TEST_F(Prepare, EitherFileOfASetNamesIt) {
  for (const char* name : {"out/a", "out/a.bin", "out/a.idx"}) {
    const auto summary = prepare_tokens(std::vector{input("text", "0123456")}, folder_.file(name), *tokenizer_);
    EXPECT_EQ(summary.sets.at(0).prefix, folder_.file("out/a"));
    const auto halves = prepare_tokens(std::vector{input("text", "0123456")}, folder_.file(name), *tokenizer_,
                                       {.holdout_fraction = 0.5});
    EXPECT_EQ(halves.sets.at(1).prefix, folder_.file("out/a_valid"));
  }
}

TEST_F(Prepare, RefusesWhatItCannotUse) {
  EXPECT_THAT(message_of(ErrorKind::kMissingInput, [&] { prepare({folder_.file("none")}); }), HasSubstr("none"));
  std::filesystem::create_directory(folder_.file("bare"));
  EXPECT_THAT(message_of(ErrorKind::kMissingInput, [&] { prepare({folder_.file("bare")}); }),
              HasSubstr("the folder holds no files"));
  message_of(ErrorKind::kData, [&] { prepare({input("empty", "")}); });
  for (const double holdout : {-0.1, 1.0, std::nan("")}) {
    message_of(ErrorKind::kConfig, [&] { prepare({input("a", "abc")}, holdout); });
  }
  EXPECT_THAT(message_of(ErrorKind::kData, [&] { prepare({input("a", "abc")}, 0.01); }), HasSubstr("leaves 0 tokens"));
  write_file(folder_.file("file"), "");
  message_of(ErrorKind::kCannotCreate,
             [&] { prepare_tokens(std::vector{input("a", "abc")}, folder_.file("file/set"), *tokenizer_); });
  EXPECT_TRUE(std::filesystem::is_empty(folder_.file("out")));
}

TEST_F(Prepare, ReadsStandardInput) {
  std::istringstream text("from a pipe");
  std::streambuf* const before = std::cin.rdbuf(text.rdbuf());
  const PrepareSummary summary = prepare({"-"});
  std::cin.rdbuf(before);
  EXPECT_EQ(summary.sets[0].tokens, 12);
  EXPECT_EQ(tokenizer_->decode(tokens_of(folder_.file("out/set"))), "from a pipe");
}

TEST_F(Prepare, WritesTheSameBytesWithAnyNumberOfThreads) {
  const auto tokenizer = make_byte_level_bpe(small_bpe());
  std::mt19937 random(9);
  std::string plain, lines;
  while (plain.size() < 3'500'000) plain += random_text(random, 1000, false);
  for (int i = 0; i < 4000; ++i)
    lines += nlohmann::json{{"text", random_text(random, 100, false)}}.dump() + (i % 7 ? "\n" : "\n\n");
  const std::vector<std::string> inputs = {input("a.txt", plain), input("b.jsonl", lines), input("c.txt", "hello")};
  const auto files = [&](int threads) {
    const PrepareSummary summary = prepare_tokens(inputs, folder_.file("out/set"), *tokenizer, {.threads = threads});
    EXPECT_EQ(summary.sets.at(0).documents, 4002);
    return read_file(folder_.file("out/set.bin")) + read_file(folder_.file("out/set.idx"));
  };
  const std::string alone = files(1);
  EXPECT_TRUE(files(2) == alone);
  EXPECT_TRUE(files(7) == alone);
  std::vector<int32_t> first(static_cast<size_t>(TokenSet(folder_.file("out/set")).document_begin(1)));
  TokenSet(folder_.file("out/set")).read(0, first);
  EXPECT_TRUE(tokenizer->decode(first) == plain);
}

TEST_F(Prepare, TheFirstBadLineIsNamedWithAnyNumberOfThreads) {
  std::string lines;
  for (int i = 0; i < 60'000; ++i)
    lines +=
        i == 29'999 || i == 59'998 ? "{\"text\": 1}\n" : "{\"text\": \"what a line holds, and some more of it\"}\n";
  const std::string jsonl = input("a.jsonl", lines + "\xff\n"), latin = input("b.txt", "\xe9 vu");
  for (const int threads : {1, 3}) {
    EXPECT_THAT(message_of(ErrorKind::kData,
                           [&] {
                             prepare({jsonl, latin}, {.threads = threads});
                           }),
                HasSubstr("a.jsonl:30000: 'text' is number"));
    EXPECT_THAT(message_of(ErrorKind::kData,
                           [&] {
                             prepare({jsonl, latin}, {.skip_bad = 1, .threads = threads});
                           }),
                HasSubstr("a.jsonl:59999: 'text' is number"));
    EXPECT_THAT(message_of(ErrorKind::kData,
                           [&] {
                             prepare({jsonl, latin}, {.skip_bad = 9, .threads = threads});
                           }),
                HasSubstr("b.txt:1: byte 1"));
  }
}

TEST_F(Prepare, SaysBesideASetWithWhichTokenizerItWasMade) {
  const std::string prefix = folder_.file("out/set"), text = input("a", "hello world");
  prepare({text});
  ASSERT_TRUE(read_token_origin(TokenSet(prefix).shards().front()).has_value());
  EXPECT_EQ(read_token_origin(TokenSet(prefix).shards().front())->fingerprint, "bytes");
  const auto bpe = make_byte_level_bpe(small_bpe());
  prepare_tokens(std::vector{text}, prefix, *bpe);
  const auto origin = describe(TokenSet(prefix), *bpe).origin;
  ASSERT_TRUE(origin.has_value());
  EXPECT_EQ(origin->tokenizer, "small");
  EXPECT_EQ(origin->fingerprint, bpe->fingerprint());
  EXPECT_EQ(origin->vocab_size, 301);
  prepare_tokens(std::vector{text, text}, prefix, *bpe, {.holdout_fraction = 0.5});
  for (const char* const part : {"_train", "_valid"})
    EXPECT_TRUE(read_token_origin(TokenSet(prefix + part).shards().front()).has_value());
  EXPECT_FALSE(std::filesystem::exists(prefix + ".whole.tokens.json"));

  // Other tokens were put there by somebody who does not know of that file.
  write_set(prefix, {{1, 2, 3}}, 257);
  EXPECT_EQ(read_token_origin(TokenSet(prefix).shards().front()), std::nullopt);
  write_file(prefix + ".tokens.json", "{}");
  EXPECT_THAT(message_of(ErrorKind::kData, [&] { read_token_origin(TokenSet(prefix).shards().front()); }),
              HasSubstr("set.tokens.json: does not say with which tokenizer"));
}

TEST_F(Prepare, DescribesWhatASetHolds) {
  prepare({input("a", "hello world"), input("b", "!")});
  const TokenSetDescription description = describe(TokenSet(folder_.file("out/set")), *tokenizer_, 5);
  EXPECT_EQ(description.tokens, 14);
  EXPECT_EQ(description.documents, 2);
  EXPECT_EQ(description.bytes, 28);
  EXPECT_EQ(description.smallest_token, ' ');
  EXPECT_EQ(description.largest_token, 256);
  EXPECT_EQ(description.beginning, "hello");
  write_set(folder_.file("gpt2"), {{50256}}, 50257);
  EXPECT_EQ(describe(TokenSet(folder_.file("gpt2")), *tokenizer_).beginning, "");
}

TEST_F(Prepare, LeavesAFolderOfOthersAlone) {
  std::filesystem::create_directories(folder_.file("out/set.part"));
  input("out/set.part/mine.txt", "precious");
  const std::string text = input("a.txt", "a");
  const Outcome outcome = attempt([&] { prepare({text}); });
  EXPECT_EQ(outcome.kind, ErrorKind::kCannotCreate);
  EXPECT_TRUE(std::filesystem::exists(folder_.file("out/set.part/mine.txt")));
}

TEST_F(Prepare, DoesNotReadWhatItWrote) {
  std::filesystem::create_directories(folder_.file("in"));
  input("in/a.txt", "a");
  for (int time = 0; time < 2; ++time) {
    prepare_tokens(std::vector<std::string>{folder_.file("in")}, folder_.file("in/s"), *tokenizer_, {});
    EXPECT_EQ(tokens_of(folder_.file("in/s")).size(), 2U) << "the text and its end, time " << time;
  }
}

TEST_F(Prepare, ReadsFoldersAndPatternsInTheOrderOfNames) {
  for (const char* const folder : {"in/sub/deep", "in/.git", "other"})
    std::filesystem::create_directories(folder_.file(folder));
  input("in/b.txt", "b");
  input("in/a.txt", "a");
  input("in/sub/c.txt", "c");
  input("in/sub/d.jsonl", "{\"text\": \"d\"}\n{\"text\": \"e\"}\n");
  input("in/sub/deep/f.md", "f");
  input("in/.git/hidden", "h");
  input("other/g.txt", "g");
  std::filesystem::create_symlink(folder_.file("in/b.txt"), folder_.file("in/sub/link.txt"));
  std::filesystem::create_directory_symlink(folder_.file("in"), folder_.file("in/sub/loop"));
  const auto texts = [&](const std::vector<std::string>& names) {
    std::vector<std::string> inputs;
    for (const std::string& name : names) inputs.push_back(folder_.file(name));
    prepare(inputs);
    std::string text;
    for (const int32_t token : tokens_of(folder_.file("out/set")))
      text += token == 256 ? '.' : static_cast<char>(token);
    return text;
  };
  EXPECT_EQ(texts({"in"}), "a.b.c.d.e.f.");
  EXPECT_EQ(texts({"in/"}), "a.b.c.d.e.f.");
  EXPECT_EQ(texts({"other", "in/sub"}), "g.c.d.e.f.");
  EXPECT_EQ(texts({"in/*.txt"}), "a.b.");
  EXPECT_EQ(texts({"in/{b,a}.txt"}), "b.a.");
  EXPECT_EQ(texts({"in/**/*.txt"}), "a.b.c.b.");  // a pattern names links
  EXPECT_EQ(texts({"{in,other}/**/[cg].txt"}), "c.g.");
  EXPECT_EQ(texts({"in/s*"}), "c.d.e.f.");
  EXPECT_EQ(texts({"in/.g*/hidden"}), "h.");
  EXPECT_EQ(texts({"**/deep/*"}), "f.") << "below the folder of this test alone";
  EXPECT_THAT(message_of(ErrorKind::kMissingInput, [&] { texts({"in/*.rst"}); }),
              HasSubstr("in/*.rst': no files match this pattern"));
}

TEST_F(Prepare, LeavesFilesOutThatAreNoTextAsManyAsItMay) {
  std::filesystem::create_directories(folder_.file("in"));
  input("in/a.txt", "a");
  input("in/b.bin", std::string(400'000, 'b') + "\xff");
  input("in/c.tar.gz", "c");
  input("in/d.parquet", "PAR1");
  input("in/e.txt", "e");
  const PrepareSummary summary = prepare({folder_.file("in")}, {.skip_bad = 3, .threads = 2});
  EXPECT_EQ(summary.bad_lines.count, 3);
  EXPECT_THAT(summary.bad_lines.first, testing::ElementsAre(HasSubstr("b.bin:1: byte 400001"), HasSubstr("c.tar.gz"),
                                                            HasSubstr("is Parquet, which Retain does not read")));
  EXPECT_EQ(tokens_of(folder_.file("out/set")), (std::vector<int32_t>{'a', 256, 'e', 256}));
  EXPECT_THAT(message_of(ErrorKind::kData, [&] { prepare({folder_.file("in")}, {.skip_bad = 2}); }),
              HasSubstr("d.parquet: is Parquet"));
  EXPECT_THAT(message_of(ErrorKind::kData, [&] { prepare({folder_.file("in")}); }), HasSubstr("b.bin:1: byte 400001"));
  EXPECT_THAT(message_of(ErrorKind::kData, [&] { prepare({folder_.file("in/d.parquet")}, {.skip_bad = 9}); }),
              HasSubstr("orient=\"records\""));
}

TEST_F(Prepare, TellsHowFarItIs) {
  const std::string text(1'000'000, 't'), line = "{\"text\": \"hello\"}\n";
  const std::vector<std::string> inputs = {input("a.txt", text), input("b.jsonl", line)};
  std::vector<PrepareProgress> told;
  prepare(inputs, {.progress = [&](const PrepareProgress& progress) { told.push_back(progress); }});
  ASSERT_GT(told.size(), 4);
  for (size_t i = 0; i < told.size(); ++i) {
    EXPECT_EQ(told[i].total_bytes, std::ssize(text) + std::ssize(line));
    if (i > 0) {
      EXPECT_GE(told[i].read_bytes, told[i - 1].read_bytes);
    }
  }
  EXPECT_EQ(told.back().read_bytes, told.back().total_bytes);
}

}  // namespace
}  // namespace retain
