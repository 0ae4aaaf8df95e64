#include "trainer/data/token_set.h"

#include <array>
#include <chrono>
#include <cstring>
#include <limits>
#include <numeric>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/trainer/data/token_files.h"

namespace retain {
namespace {

using testing::EndsWith;
using testing::HasSubstr;

// Documents [1,2,3] and [4,5] as Megatron-Core's IndexedDatasetBuilder writes them.
constexpr const char* kGoldenBin = "01000200030004000500";
constexpr const char* kGoldenIdx =
    "4d4d49444944580000010000000000000008020000000000000003000000000000000300000002000000000000000000000006000000000000"
    "00"
    "000000000000000001000000000000000200000000000000";

std::vector<int32_t> read_all(const TokenSet& set) {
  std::vector<int32_t> tokens(static_cast<size_t>(set.tokens()));
  set.read(0, tokens);
  return tokens;
}

template <class T>
std::string with(std::string bytes, size_t offset, T value) {
  std::memcpy(bytes.data() + offset, &value, sizeof value);
  return bytes;
}

/// A number as little-endian bytes.
template <class T>
std::string bytes_of(T value) {
  std::string bytes(sizeof value, '\0');
  std::memcpy(bytes.data(), &value, sizeof value);
  return bytes;
}

// A file of llm.c: dev/data/data_common.py writes 256 int32, then the tokens.
template <class T>
std::string llm_c(int32_t magic, int32_t version, const std::vector<T>& tokens) {
  std::string bytes = bytes_of(magic) + bytes_of(version) + bytes_of(static_cast<int32_t>(tokens.size()));
  bytes.resize(1024, '\0');
  for (const T token : tokens) bytes += bytes_of(token);
  return bytes;
}
std::string gpt2(const std::vector<uint16_t>& tokens) { return llm_c(20240520, 1, tokens); }

TEST(TokenWriter, WritesMegatronsBytes) {
  const TestFolder folder;
  write_set(folder.file("a"), {{1, 2, 3}, {4, 5}}, 50257);
  EXPECT_EQ(read_file(folder.file("a.bin")), from_hex(kGoldenBin));
  EXPECT_EQ(read_file(folder.file("a.idx")), from_hex(kGoldenIdx));
}

TEST(TokenWriter, StoresLargeVocabulariesAsInt32) {
  const TestFolder folder;
  write_set(folder.file("small"), {{65498}}, 65499);
  write_set(folder.file("large"), {{65499, 7}}, 65500);
  EXPECT_EQ(TokenSet(folder.file("small")).type(), TokenType::kUint16);
  EXPECT_EQ(TokenSet(folder.file("large")).type(), TokenType::kInt32);
  EXPECT_EQ(read_all(TokenSet(folder.file("large"))), (std::vector<int32_t>{65499, 7}));
}

TEST(TokenWriter, CutsLongDocumentsIntoSequencesAndDropsEmptyOnes) {
  const TestFolder folder;
  TokenWriter writer(folder.file("a"), 257, 3);
  writer.append(std::vector<int32_t>{1, 2, 3, 4, 5, 6, 7});
  writer.end_document();
  writer.end_document();
  writer.append(std::vector<int32_t>{8, 9, 10});
  writer.finish();
  const TokenSet set(folder.file("a"));
  EXPECT_EQ(set.documents(), 2);
  EXPECT_EQ(read_all(set), (std::vector<int32_t>{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}));
  // lengths 3, 3, 1, 3
  EXPECT_EQ(read_file(folder.file("a.idx")).substr(34, 16), from_hex("03000000030000000100000003000000"));
}

TEST(TokenWriter, LeavesNothingBehindWhenItIsNotFinished) {
  const TestFolder folder;
  {
    TokenWriter writer(folder.file("a"), 257);
    writer.append(std::vector<int32_t>{1, 2, 3});
    EXPECT_FALSE(folder.empty());
  }
  EXPECT_TRUE(folder.empty());
}

TEST(TokenWriter, RefusesAFolderThatIsNotThereAndAnEmptySet) {
  const TestFolder folder;
  EXPECT_THAT(message_of(ErrorKind::kCannotCreate, [&] { TokenWriter(folder.file("no/a"), 257); }), HasSubstr("no/a"));
  message_of(ErrorKind::kData, [&] { TokenWriter(folder.file("a"), 257).finish(); });
  EXPECT_TRUE(folder.empty());
}

TEST(TokenSet, OpensByPrefixOrByEitherFile) {
  const TestFolder folder;
  write_file(folder.file("a.bin"), from_hex(kGoldenBin));
  write_file(folder.file("a.idx"), from_hex(kGoldenIdx));
  for (const char* name : {"a", "a.bin", "a.idx"}) {
    const TokenSet set(folder.file(name));
    EXPECT_EQ(set.tokens(), 5);
    EXPECT_EQ(set.documents(), 2);
    EXPECT_EQ(set.bytes(), 10);
    EXPECT_EQ(read_all(set), (std::vector<int32_t>{1, 2, 3, 4, 5}));
  }
}

TEST(TokenSet, NamesTheSetsThatAreThereForOneThatIsNot) {
  const TestFolder folder;
  std::filesystem::create_directory(folder.file("b"));
  for (const char* name : {"a_valid.idx", "a_train.idx", "a_train.bin", "b/c.idx", "lone.bin", "a.txt"})
    write_file(folder.file(name), "");
  const auto complaint = [&](const std::string& path) {
    return message_of(ErrorKind::kMissingInput, [&] { TokenSet set(path); });
  };
  const std::string both = concat("; sets nearby: ", folder.file("a_train"), ", ", folder.file("a_valid"));
  for (const char* path : {"a", "a.bin", "a.idx", "a_trian"}) EXPECT_THAT(complaint(folder.file(path)), EndsWith(both));
  EXPECT_THAT(complaint(folder.file("a_train_2")), EndsWith(concat("; sets nearby: ", folder.file("a_train"))));
  EXPECT_THAT(complaint(folder.file("b")), EndsWith(concat("; sets nearby: ", folder.file("b/c"))));
  EXPECT_THAT(complaint(folder.file("lone")),
              HasSubstr(concat("no ", folder.file("lone.idx beside "), folder.file("lone.bin,"))));
  EXPECT_THAT(complaint(folder.file("a.txt")), EndsWith("'retain data prepare' makes a set of a text"));
  EXPECT_THAT(complaint(folder.file("none/a")), EndsWith("'retain data prepare' makes sets"));
  EXPECT_THAT(complaint(""), HasSubstr("'' is no set of tokens"));
  for (int i = 0; i < 20; ++i) write_file(folder.file(concat("c", i, ".idx")), "");
  EXPECT_THAT(complaint(folder.file("c")), EndsWith("c15, ..."));
}

TEST(TokenSet, SaysWhichFileIsMissing) {
  const TestFolder folder;
  EXPECT_THAT(message_of(ErrorKind::kMissingInput, [&] { TokenSet(folder.file("a")); }),
              testing::AllOf(HasSubstr("a.idx"), HasSubstr("'retain data prepare' makes sets")));
  write_file(folder.file("a.idx"), from_hex(kGoldenIdx));
  EXPECT_THAT(message_of(ErrorKind::kMissingInput, [&] { TokenSet(folder.file("a")); }), HasSubstr("a.bin"));
  std::filesystem::create_directory(folder.file("a.bin"));
  EXPECT_THAT(message_of(ErrorKind::kData, [&] { TokenSet(folder.file("a")); }), HasSubstr("not a regular file"));
}

TEST(TokenSet, ReadsEveryStoredType) {
  const TestFolder folder;
  const auto check = [&]<class T>(T, char code) {
    const std::vector<T> stored = {1, 2, 3, 100, 5};
    write_file(folder.file("a.bin"), {reinterpret_cast<const char*>(stored.data()), stored.size() * sizeof(T)});
    std::string idx = from_hex(kGoldenIdx);
    idx[17] = code;
    write_file(folder.file("a.idx"), with(idx, 34 + 8 + 8, int64_t{3 * sizeof(T)}));
    EXPECT_EQ(read_all(TokenSet(folder.file("a"))), (std::vector<int32_t>{1, 2, 3, 100, 5})) << int{code};
  };
  check(uint8_t{}, 1);
  check(int8_t{}, 2);
  check(int16_t{}, 3);
  check(int32_t{}, 4);
  check(int64_t{}, 5);
  check(uint16_t{}, 8);
}

TEST(TokenSet, ReadsAnyRangeOfALargeSet) {
  const TestFolder folder;
  std::vector<int32_t> document(100'000);  // several of the blocks in which tokens are converted
  for (size_t i = 0; i < document.size(); ++i) document[i] = static_cast<int32_t>(i * i % 65'497);
  write_set(folder.file("a"), {document}, 65'499);
  const TokenSet set(folder.file("a"));
  for (const auto& [begin, count] :
       std::vector<std::pair<int64_t, int64_t>>{{0, 100'000}, {99'999, 1}, {31'000, 40'001}, {5, 0}}) {
    std::vector<int32_t> out(static_cast<size_t>(count));
    set.read(begin, out);
    EXPECT_TRUE(std::equal(out.begin(), out.end(), document.begin() + begin));
  }
  std::vector<int32_t> two(2);
  EXPECT_THROW(set.read(99'999, two), Error);
  EXPECT_THROW(set.read(-1, two), Error);
}

TEST(TokenSet, RefusesEveryTruncationOfEitherFile) {
  const TestFolder folder;
  const std::string idx = from_hex(kGoldenIdx), bin = from_hex(kGoldenBin);
  write_file(folder.file("a.bin"), bin);
  for (size_t size = 0; size < idx.size(); ++size) {
    write_file(folder.file("a.idx"), idx.substr(0, size));
    EXPECT_THAT(message_of(ErrorKind::kData, [&] { TokenSet(folder.file("a")); }), HasSubstr("a.idx")) << size;
  }
  write_file(folder.file("a.idx"), idx);
  for (size_t size = 0; size < bin.size(); ++size) {
    write_file(folder.file("a.bin"), bin.substr(0, size));
    EXPECT_THAT(message_of(ErrorKind::kData, [&] { TokenSet(folder.file("a")); }), HasSubstr("a.bin")) << size;
  }
  write_file(folder.file("a.bin"), bin + '\0');
  EXPECT_THAT(message_of(ErrorKind::kData, [&] { TokenSet(folder.file("a")); }), HasSubstr("found 11, want 10"));
  write_file(folder.file("a.bin"), bin);
  write_file(folder.file("a.idx"), idx + '\0');
  EXPECT_THAT(message_of(ErrorKind::kData, [&] { TokenSet(folder.file("a")); }), HasSubstr("found 83, want 82"));
}

TEST(TokenSet, NamesTheFieldThatIsWrong) {
  const TestFolder folder;
  const std::string idx = from_hex(kGoldenIdx);
  write_file(folder.file("a.bin"), from_hex(kGoldenBin));
  const auto expect = [&](const std::string& bytes, const std::string& want) {
    write_file(folder.file("a.idx"), bytes);
    EXPECT_THAT(message_of(ErrorKind::kData, [&] { TokenSet(folder.file("a")); }), HasSubstr(want));
  };
  constexpr size_t kLengths = 34, kOffsets = 34 + 8, kDocuments = 34 + 24;
  expect(with(idx, 0, 'X'), "byte 0: magic");
  expect(with(idx, 9, uint64_t{2}), "byte 9: version: found 2, want 1");
  for (const char code : {0, 6, 7, 9, 127}) expect(with(idx, 17, code), "byte 17: code of the tokens' type");
  expect(with(idx, 17, char{4}), "size of the tokens: found 10, want at least 12, where sequence 0 ends");
  expect(with(idx, 18, uint64_t{0}), "byte 18: number of sequences: found 0");
  expect(with(idx, 18, ~uint64_t{0}), "byte 18: number of sequences");
  expect(with(idx, 18, uint64_t{1} << 62), "byte 18: number of sequences");
  expect(with(idx, 18, uint64_t{3}), "size of the index: found 82, want 94");
  expect(with(idx, 26, uint64_t{1}), "byte 26: number of document boundaries");
  expect(with(idx, 26, ~uint64_t{0}), "byte 26: number of document boundaries");
  expect(with(idx, 26, uint64_t{2}), "size of the index: found 82, want 74");
  expect(with(idx, kLengths, int32_t{-1}), "byte 34: length of sequence 0: found -1");
  expect(with(idx, kLengths, int32_t{2}), "offset of sequence 1: found 6, want 4");
  expect(with(idx, kLengths + 4, int32_t{3}), "size of the tokens: found 10, want at least 12");
  expect(with(idx, kLengths + 4, int32_t{1}), "size of the tokens: found 10, want 8");
  expect(with(idx, kOffsets, int64_t{-2}), "byte 42: offset of sequence 0: found -2, want 0");
  expect(with(idx, kOffsets + 8, int64_t{1} << 40), "byte 50: offset of sequence 1");
  expect(with(idx, kDocuments, int64_t{1}), "byte 58: document boundary: found 1, want 0");
  expect(with(idx, kDocuments + 8, int64_t{3}), "byte 66: document boundary: found 3, want at most 2");
  expect(with(idx, kDocuments + 8, int64_t{-1}), "byte 66: document boundary: found -1, want 0 or more");
  expect(with(idx, kDocuments + 16, int64_t{1}), "byte 74: last document boundary: found 1, want 2");
  expect(idx + std::string(2, '\0'), "list of modes");
}

TEST(TokenSet, SurvivesEveryChangedByteOfTheIndex) {
  const TestFolder folder;
  const std::string idx = from_hex(kGoldenIdx);
  write_file(folder.file("a.bin"), from_hex(kGoldenBin));
  int refused = 0;
  for (size_t i = 0; i < idx.size(); ++i) {
    for (const char flip : {1, 2, 64, -128}) {
      write_file(folder.file("a.idx"), with(idx, i, static_cast<char>(idx[i] ^ flip)));
      try {
        const TokenSet set(folder.file("a"));
        EXPECT_EQ(set.tokens(), 5);
      } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::kData);
        ++refused;
      }
    }
  }
  EXPECT_GT(refused, 300);  // of 328: a boundary of 0 or 2 in the middle, for one, is legal
}

TEST(TokenSet, NamesATokenOutsideTheVocabulary) {
  const TestFolder folder;
  write_set(folder.file("a"), {std::vector<int32_t>(40'000, 7), {300, 8}}, 400);
  const TokenSet set(folder.file("a"), 257);
  std::vector<int32_t> tokens(40'000);
  set.read(0, tokens);  // the range that is fine can be read
  EXPECT_THAT(message_of(ErrorKind::kData, [&] { set.read(2, tokens); }),
              HasSubstr("a.bin: byte 80000: token 40000: found 300, want 0 to 256"));
}

TEST(TokenSet, RefusesNegativeAndHugeTokensInAnyVocabulary) {
  const TestFolder folder;
  write_set(folder.file("a"), {{1, 2}}, 1 << 20);
  const std::string bin = read_file(folder.file("a.bin"));
  write_file(folder.file("a.bin"), with(bin, 4, int32_t{-5}));
  std::vector<int32_t> tokens(2);
  EXPECT_THAT(message_of(ErrorKind::kData, [&] { TokenSet(folder.file("a")).read(0, tokens); }), HasSubstr("found -5"));
}

TEST(TokenSet, ReportsAFileThatShrinksWhileItIsOpen) {
  const TestFolder folder;
  write_set(folder.file("a"), {std::vector<int32_t>(1000, 7)});
  const TokenSet set(folder.file("a"));
  std::filesystem::resize_file(folder.file("a.bin"), 600);
  std::vector<int32_t> tokens(1000);
  EXPECT_THAT(message_of(ErrorKind::kData, [&] { set.read(0, tokens); }), HasSubstr("a.bin: ends at byte 600"));
}

TEST(TokenSet, NamesAFileThatIsWrittenWhileItIsOpen) {
  const TestFolder folder;
  const std::vector<uint16_t> tokens(1000, 7);
  const std::string raw(reinterpret_cast<const char*>(tokens.data()), 2000);
  write_set(folder.file("megatron"), {std::vector<int32_t>(1000, 7)});
  write_file(folder.file("nano.bin"), raw);
  write_file(folder.file("llm_c.bin"), gpt2(tokens));
  const std::vector<std::array<std::string, 3>> cases = {{"megatron", "megatron.bin", "byte 20: token 10: "},
                                                         {"nanogpt:", "nano.bin", "byte 20: token 10: "},
                                                         {"llm_c", "llm_c.bin", "byte 1044: token 10: "}};
  for (const auto& [name, file, place] : cases) {
    const TokenSet set(name == "nanogpt:" ? name + folder.file(file) : folder.file(name));
    std::vector<int32_t> some(100);
    set.read(10, some);
    {
      std::fstream bin(folder.file(file), std::ios::in | std::ios::out | std::ios::binary);  // of the same length
      bin.seekp(1900);
      bin << '\1';
    }
    const auto later = std::filesystem::last_write_time(folder.file(file)) + std::chrono::seconds(1);
    std::filesystem::last_write_time(folder.file(file), later);  // clocks of files are coarse
    EXPECT_THAT(message_of(ErrorKind::kData, [&] { set.read(10, some); }),
                HasSubstr(folder.file(file) + ": " + place + "the file was written while it was in use"));
  }
}

TEST(TokenSet, StaysReadableWhenItsFilesAreDeleted) {
  const TestFolder folder;
  write_set(folder.file("a"), {{1, 2, 3}});
  const TokenSet set(folder.file("a"));
  std::filesystem::remove(folder.file("a.bin"));
  EXPECT_EQ(read_all(set), (std::vector<int32_t>{1, 2, 3}));
}

TEST(TokenSet, FingerprintFollowsTheContentsNotTheName) {
  const TestFolder folder;
  std::vector<int32_t> document(5000);
  std::iota(document.begin(), document.end(), 0);
  write_set(folder.file("a"), {document}, 50257);
  write_set(folder.file("b"), {document}, 50257);
  const uint64_t original = TokenSet(folder.file("a")).fingerprint();
  EXPECT_EQ(original, TokenSet(folder.file("b")).fingerprint());
  document.back() = 1;
  write_set(folder.file("b"), {document}, 50257);
  EXPECT_NE(original, TokenSet(folder.file("b")).fingerprint());
  document.back() = 4999;
  write_set(folder.file("b"), {{document.begin(), document.begin() + 100}, {document.begin() + 100, document.end()}},
            50257);
  EXPECT_NE(original, TokenSet(folder.file("b")).fingerprint());
}

// 16 GiB of which the disk holds a few KiB.
TEST(TokenSet, OpensMoreTokensThan32BitsCount) {
  constexpr int64_t kSequences = 8, kLength = int64_t{1} << 30, kTokens = kSequences * kLength;
  const TestFolder folder;
  std::string lengths, offsets;
  for (int64_t i = 0; i < kSequences; ++i) {
    lengths += bytes_of(static_cast<int32_t>(kLength));
    offsets += bytes_of(2 * i * kLength);
  }
  write_file(folder.file("a.idx"), std::string(TokenIndexHeader::kMagic, 9) + bytes_of(TokenIndexHeader::kVersion) +
                                       bytes_of(TokenType::kUint16) + bytes_of(kSequences) + bytes_of(int64_t{2}) +
                                       lengths + offsets + bytes_of(int64_t{0}) + bytes_of(kSequences));
  write_file(folder.file("a.bin"), "");
  std::error_code error;
  std::filesystem::resize_file(folder.file("a.bin"), 2 * kTokens, error);
  if (error) GTEST_SKIP() << "no file of 16 GiB here: " << error.message();
  {
    std::fstream bin(folder.file("a.bin"), std::ios::in | std::ios::out | std::ios::binary);
    bin.seekp(2 * kTokens - 6);
    bin << bytes_of(uint16_t{5}) << bytes_of(uint16_t{6}) << bytes_of(uint16_t{7});
  }
  const TokenSet set(folder.file("a"), 257);
  EXPECT_EQ(set.tokens(), kTokens);
  EXPECT_EQ(set.documents(), 1);
  std::vector<int32_t> last(4);
  set.read(kTokens - 4, last);
  EXPECT_EQ(last, (std::vector<int32_t>{0, 5, 6, 7}));
}

TEST(TokenShards, OfLlmCAreKnownByTheirHeader) {
  const TestFolder folder;
  const std::string golden = gpt2({50256, 1, 2, 3});
  EXPECT_EQ(golden.substr(0, 16), from_hex("88d834010100000004000000"
                                           "00000000"));
  write_file(folder.file("a.bin"), golden);
  write_file(folder.file("b.bin"), llm_c<uint32_t>(20240801, 7, {128000, 128255, 5}));
  for (const char* const name : {"a", "a.bin"}) {
    const TokenSet set(folder.file(name));
    EXPECT_EQ(read_all(set), (std::vector<int32_t>{50256, 1, 2, 3}));
    EXPECT_EQ(set.documents(), 1);
    EXPECT_EQ(set.bytes(), 8);
    EXPECT_EQ(set.document_begin(0), 0);
    EXPECT_EQ(set.document_begin(1), 4);
    EXPECT_TRUE(set.document_begins(0, 4).empty());
  }
  EXPECT_EQ(read_all(TokenSet(folder.file("b.bin"))), (std::vector<int32_t>{128000, 128255, 5}));
  EXPECT_THAT(message_of(ErrorKind::kData, [&] { read_all(TokenSet(folder.file("b"), 128256 - 1)); }),
              HasSubstr("b.bin: byte 1028: token 1: found 128255, want 0 to 128254"));
}

// A shard of llm.c counts its tokens in int32; the files have holes.
TEST(TokenShards, OfLlmCAreMoreThan32BitsTogether) {
  constexpr int64_t kShard = std::numeric_limits<int32_t>::max(), kTokens = 3 * kShard;
  const TestFolder folder;
  for (int i = 0; i < 3; ++i) {
    const std::string path = folder.file(concat("web_", i, ".bin"));
    write_file(path, with(gpt2({static_cast<uint16_t>(10 + i)}), 8, static_cast<int32_t>(kShard)));
    std::error_code error;
    std::filesystem::resize_file(path, 1024 + 2 * kShard, error);
    if (error) GTEST_SKIP() << "no file of 4 GiB here: " << error.message();
    std::fstream bin(path, std::ios::in | std::ios::out | std::ios::binary);
    bin.seekp(1024 + 2 * kShard - 2);
    bin << bytes_of(static_cast<uint16_t>(20 + i));
  }
  const TokenSet set(folder.file("web_*.bin"), 30);
  EXPECT_EQ(set.tokens(), kTokens);
  EXPECT_GT(set.tokens(), int64_t{1} << 32);
  std::vector<int32_t> across(4);
  set.read(kShard - 2, across);
  EXPECT_EQ(across, (std::vector<int32_t>{0, 20, 11, 0}));
  set.read(2 * kShard - 2, across);
  EXPECT_EQ(across, (std::vector<int32_t>{0, 21, 12, 0}));
  set.read(kTokens - 4, across);
  EXPECT_EQ(across, (std::vector<int32_t>{0, 0, 0, 22}));
  EXPECT_EQ(set.place_of(kTokens - 1), folder.file("web_2.bin") + ": byte 4294968316: token 2147483646");
}

TEST(TokenShards, OfNanoGptAreMoreThan32BitsCount) {
  constexpr int64_t kTokens = (int64_t{1} << 32) + 5;
  const TestFolder folder;
  write_file(folder.file("train.bin"), "");
  std::error_code error;
  std::filesystem::resize_file(folder.file("train.bin"), 2 * kTokens, error);
  if (error) GTEST_SKIP() << "no file of 8 GiB here: " << error.message();
  {
    std::fstream bin(folder.file("train.bin"), std::ios::in | std::ios::out | std::ios::binary);
    bin.seekp(2 * kTokens - 4);
    bin << bytes_of(uint16_t{300}) << bytes_of(uint16_t{7});
  }
  const TokenSet set("nanogpt:" + folder.file("train.bin"), 257);
  EXPECT_EQ(set.tokens(), kTokens);
  std::vector<int32_t> last(1);
  set.read(kTokens - 1, last);
  EXPECT_EQ(last[0], 7);
  EXPECT_THAT(message_of(ErrorKind::kData, [&] { set.read(kTokens - 2, last); }),
              HasSubstr("train.bin: byte 8589934598: token 4294967299: found 300, want 0 to 256"));
}

TEST(TokenShards, OfLlmCMustBeWhatTheirHeaderSays) {
  const TestFolder folder;
  const auto refusal = [&](const std::string& bytes) {
    write_file(folder.file("a.bin"), bytes);
    return message_of(ErrorKind::kData, [&] { TokenSet set(folder.file("a")); });
  };
  const std::string whole = gpt2({1, 2, 3});
  EXPECT_THAT(refusal(whole.substr(0, whole.size() - 1)),
              EndsWith("a.bin: byte 1029: size of the file: found 1029, want 1030 for the 3 tokens of its header"));
  EXPECT_THAT(refusal(whole + "x"), HasSubstr("byte 1030: size of the file: found 1031"));
  EXPECT_THAT(refusal(whole.substr(0, 500)), HasSubstr("size of the file: found 500"));
  EXPECT_THAT(refusal(with(whole, 4, int32_t{2})), HasSubstr("byte 4: version: found 2, want 1"));
  EXPECT_THAT(refusal(with(whole, 8, int32_t{-3})), HasSubstr("byte 8: number of tokens: found -3"));
  EXPECT_THAT(refusal(with(whole, 0, int32_t{20240522})), HasSubstr("found 20240522, of an evaluation (HellaSwag)"));
  EXPECT_THAT(refusal(with(whole, 0, int32_t{20240328})), HasSubstr("of a tokenizer of llm.c"));
  EXPECT_THAT(refusal(with(whole, 0, int32_t{20240326})), HasSubstr("of a model of llm.c"));
}

TEST(TokenShards, OfNanoGptAreReadWhenAskedForByName) {
  const TestFolder folder;
  const std::string raw = from_hex("0100020050c4");
  write_file(folder.file("train.bin"), raw);
  EXPECT_THAT(message_of(ErrorKind::kMissingInput, [&] { TokenSet set(folder.file("train.bin")); }),
              HasSubstr(concat("which has no header of llm.c; nanogpt:", folder.file("train.bin"),
                               " takes all of it as uint16, as nanoGPT does")));
  const TokenSet set("nanogpt:" + folder.file("train.bin"), 50257);
  EXPECT_EQ(read_all(set), (std::vector<int32_t>{1, 2, 50256}));
  EXPECT_EQ(set.prefix(), folder.file("train.bin"));
  EXPECT_THAT(message_of(ErrorKind::kData, [&] { read_all(TokenSet("nanogpt:" + folder.file("train.bin"), 50256)); }),
              HasSubstr("train.bin: byte 4: token 2: found 50256, want 0 to 50255"));
  write_file(folder.file("odd.bin"), raw + "x");
  EXPECT_THAT(message_of(ErrorKind::kData, [&] { TokenSet odd("nanogpt:" + folder.file("odd.bin")); }),
              HasSubstr("odd.bin: byte 7: size of the file: found 7, want an even number"));
  write_file(folder.file("other.bin"), gpt2({1}));
  EXPECT_THAT(message_of(ErrorKind::kData, [&] { TokenSet other("nanogpt:" + folder.file("other.bin")); }),
              HasSubstr("found a header of llm.c"));
  EXPECT_THAT(message_of(ErrorKind::kMissingInput, [&] { TokenSet none("nanogpt:" + folder.file("none.bin")); }),
              HasSubstr("none.bin"));
}

TEST(TokenShards, OfAPatternAreOneSet) {
  const TestFolder folder;
  write_file(folder.file("web_000001.bin"), gpt2({1, 2, 3}));
  write_file(folder.file("web_000002.bin"), gpt2({4}));
  write_file(folder.file("web_000010.bin"), gpt2({5, 6}));
  write_set(folder.file("book_a"), {{7, 8}, {9}}, 257);
  write_set(folder.file("book_b"), {{10}, {11, 12}}, 257);
  write_file(folder.file("book_a.tokens.json"), "{}");

  const TokenSet web(folder.file("web_*.bin"));
  EXPECT_EQ(read_all(web), (std::vector<int32_t>{1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(web.documents(), 1);  // llm.c cuts its shards anywhere
  EXPECT_TRUE(web.document_begins(0, 6).empty());
  EXPECT_EQ(web.document_begin(1), 6);

  for (const char* const pattern : {"book_?", "book_[ab]", "book_*.idx"}) {
    const TokenSet books(folder.file(pattern));
    EXPECT_EQ(read_all(books), (std::vector<int32_t>{7, 8, 9, 10, 11, 12}));
    EXPECT_EQ(books.documents(), 4);
    EXPECT_EQ(books.document_begins(0, 6), (std::vector<int64_t>{2, 3, 4}));
    EXPECT_EQ(books.document_begins(3, 4), (std::vector<int64_t>{3}));
    EXPECT_EQ(books.document_begin(2), 3);
    EXPECT_EQ(books.document_begin(3), 4);
    EXPECT_EQ(books.document_begin(4), 6);
  }
  const TokenSet turned(folder.file("{book_b,web_*,book_a}"));  // indexes first
  EXPECT_EQ(turned.tokens(), 12);
  const TokenSet list(folder.file("{web_000010,web_000001}.bin"));
  EXPECT_EQ(read_all(list), (std::vector<int32_t>{5, 6, 1, 2, 3}));
  std::vector<int32_t> across(3);
  list.read(1, across);
  EXPECT_EQ(across, (std::vector<int32_t>{6, 1, 2}));
  EXPECT_NE(list.fingerprint(), TokenSet(folder.file("{web_000001,web_000010}.bin")).fingerprint());
  EXPECT_THAT(message_of(ErrorKind::kMissingInput, [&] { TokenSet none(folder.file("none_*")); }),
              HasSubstr("none_*': no files match this pattern"));
  const TokenSet one(folder.file("web_000002*"));
  EXPECT_EQ(one.fingerprint(), TokenSet(folder.file("web_000002")).fingerprint());
}

TEST(TokenShards, AShardThatWasChangedIsNamed) {
  const TestFolder folder;
  write_file(folder.file("a1.bin"), gpt2({1, 2, 3}));
  write_file(folder.file("a2.bin"), gpt2({4, 5, 6}));
  const TokenSet set(folder.file("a*.bin"), TokenSet::kAnyVocabulary, std::make_shared<OpenFiles>(1));
  EXPECT_EQ(read_all(set), (std::vector<int32_t>{1, 2, 3, 4, 5, 6}));
  std::filesystem::remove(folder.file("a1.bin"));
  write_file(folder.file("a1.bin"), gpt2({1, 2, 9, 9}));
  EXPECT_THAT(message_of(ErrorKind::kData, [&] { read_all(set); }), HasSubstr("a1.bin"));
}

}  // namespace
}  // namespace retain
