#include "trainer/interop/safetensors.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <type_traits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/trainer/data/token_files.h"
#include "trainer/interop/safetensors_header.h"

namespace retain {
namespace {

using testing::HasSubstr;

// {"w": F32[2] = 1, 2}, as the official library writes it.
constexpr const char* kGolden =
    "38000000000000007b2277223a7b226474797065223a22463332222c227368617065223a5b325d2c22646174615f6f666673657473223a5b30"
    "2c38"
    "5d7d7d20200000803f00000040";

template <class T>
SafetensorsTensor tensor(const std::string& name, const std::string& dtype, std::vector<int64_t> shape,
                         const std::vector<T>& values) {
  return {name, dtype, std::move(shape), std::as_bytes(std::span(values))};
}

/// A file with this header and this many bytes of data.
std::string file_with(const std::string& header, size_t data_bytes) {
  const uint64_t size = header.size();
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &size, 8);
  return bytes + header + std::string(data_bytes, '\0');
}

class Safetensors : public testing::Test {
 protected:
  std::string path() const { return folder_.file("a.safetensors"); }
  void expect_refused(const std::string& bytes, const std::string& want) const {
    write_file(path(), bytes);
    EXPECT_THAT(message_of(ErrorKind::kData, [&] { SafetensorsFile{path()}; }),
                testing::AllOf(HasSubstr("a.safetensors"), HasSubstr(want)));
  }
  const TestFolder folder_;
};

TEST_F(Safetensors, WritesTheOfficialBytes) {
  const std::vector<float> values = {1, 2};
  write_safetensors(path(), {tensor("w", "F32", {2}, values)});
  EXPECT_EQ(read_file(path()).size(), 72);
  EXPECT_EQ(read_file(path()), from_hex(kGolden));
}

TEST_F(Safetensors, ReadsWhatItWrites) {
  const std::vector<float> a = {1, 2, 3, 4, 5, 6};
  const std::vector<int64_t> b = {-1, 1 << 20};
  const std::vector<uint16_t> c = {0x3f80};
  const std::vector<float> none;
  const std::map<std::string, std::string> metadata = {{"format", "pt"}, {"quote", "\"\\\n\u00e9"}};
  write_safetensors(path(),
                    {tensor("layers.1", "F32", {2, 3}, a), tensor("ids", "I64", {2}, b),
                     tensor("scalar", "BF16", {}, c), tensor("empty", "F32", {0, 4}, none)},
                    metadata);
  const SafetensorsFile file(path());
  EXPECT_EQ(file.metadata(), metadata);
  std::vector<std::string> names;
  for (const SafetensorsEntry& entry : file.entries()) names.push_back(entry.name);
  EXPECT_EQ(names, (std::vector<std::string>{"ids", "empty", "layers.1", "scalar"}));  // wide types first, then by name
  EXPECT_EQ(file.read_float("layers.1"), a);
  EXPECT_EQ(file.entry("layers.1").describe(), "F32[2,3]");
  EXPECT_EQ(file.read_int("ids"), (std::vector<int32_t>{-1, 1 << 20}));
  EXPECT_EQ(file.read_float("scalar"), std::vector<float>{1});
  EXPECT_TRUE(file.read_float("empty").empty());
  EXPECT_EQ(read_file(path()).size() % 4, 2);  // the header is padded to 8, the data is not
  EXPECT_THAT(message_of(ErrorKind::kData, [&] { file.entry("layers.2"); }), HasSubstr("has no tensor 'layers.2'"));
  EXPECT_THAT(message_of(ErrorKind::kData, [&] { file.read_float("ids"); }), HasSubstr("I64[2], want F32"));
  EXPECT_THAT(message_of(ErrorKind::kData, [&] { file.read_int("scalar"); }), HasSubstr("BF16[], want I32"));
}

TEST_F(Safetensors, StaysWholeWhenMoved) {
  write_file(path(), from_hex(kGolden));
  SafetensorsFile first{path()};
  const SafetensorsFile second = std::move(first);
  EXPECT_EQ(second.read_float("w"), (std::vector<float>{1, 2}));
}

TEST_F(Safetensors, ConvertsFloatsOfAllWidths) {
  const std::vector<uint16_t> half = {0x3c00, 0xc000, 0x0001, 0x03ff, 0x7bff, 0x7c00, 0xfc00, 0x8000, 0x3555};
  const std::vector<uint16_t> brain = {0x3f80, 0xc000, 0x7f80, 0x0001};
  const std::vector<double> wide = {0.1, -1e300};
  write_safetensors(path(), {tensor("half", "F16", {9}, half), tensor("brain", "BF16", {4}, brain),
                             tensor("wide", "F64", {2}, wide)});
  const SafetensorsFile file(path());
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(file.read_float("half"),
            (std::vector<float>{1, -2, 0x1p-24F, 0x3ffp-24F, 65504, kInfinity, -kInfinity, 0, 0x555p-12F}));
  EXPECT_TRUE(std::signbit(file.read_float("half")[7]));
  EXPECT_EQ(file.read_float("brain"), (std::vector<float>{1, -2, kInfinity, 0x1p-133F}));
  EXPECT_EQ(file.read_float("wide"), (std::vector<float>{0.1F, -kInfinity}));
}

TEST_F(Safetensors, RefusesIntegersThatDoNotFit) {
  const std::vector<int64_t> values = {1, int64_t{1} << 31};
  write_safetensors(path(), {tensor("ids", "I64", {2}, values)});
  EXPECT_THAT(message_of(ErrorKind::kData, [&] { SafetensorsFile(path()).read_int("ids"); }), HasSubstr("2147483648"));
}

TEST_F(Safetensors, RefusesEveryTruncation) {
  const std::string golden = from_hex(kGolden);
  for (size_t size = 0; size < golden.size(); ++size) expect_refused(golden.substr(0, size), "a.safetensors");
  expect_refused(golden + '\0', "describes 8 bytes of data, the file has 9");
  EXPECT_THAT(message_of(ErrorKind::kMissingInput, [&] { SafetensorsFile(folder_.file("none")); }), HasSubstr("none"));
}

TEST(SafetensorsHeader, SurvivesEveryChangedByte) {
  const std::string golden = from_hex(kGolden).substr(8, 56);
  int refused = 0;
  for (size_t i = 0; i < golden.size(); ++i) {
    for (int flip = 1; flip < 256; ++flip) {
      std::string text = golden;
      text[i] = static_cast<char>(text[i] ^ flip);
      try {
        const SafetensorsHeader header = parse_safetensors_header(text, 8, "a.safetensors");
        ASSERT_EQ(header.entries.size(), 1);  // another name, another type of the same width
        ASSERT_EQ(header.entries[0].end, 8);
      } catch (const Error& error) {
        ASSERT_EQ(error.kind(), ErrorKind::kData);
        ++refused;
      }
    }
  }
  EXPECT_GT(refused, 56 * 255 - 200);
}

TEST_F(Safetensors, NamesTheRuleThatIsBroken) {
  const auto header = [](const std::string& fields) { return "{\"w\":{" + fields + "}}"; };
  const std::string ok = R"("dtype":"F32","shape":[2],"data_offsets":[0,8])";
  expect_refused(file_with("", 0), "does not begin with '{'");
  expect_refused(file_with(" {}", 0), "does not begin with '{'");
  expect_refused(file_with("[]", 0), "does not begin with '{'");
  expect_refused(file_with("{}x", 0), "header: byte");
  expect_refused(file_with("{\"w\":1}", 0), "'w': found 1, want an object");
  expect_refused(file_with("{\"w\":null}", 0), "'w': found null");
  expect_refused(file_with("{\"w\":[]}", 0), "'w': found a list");
  expect_refused(file_with(header(R"("dtype":"F32","shape":[2])"), 8), "has no data_offsets");
  expect_refused(file_with(header(R"("shape":[2],"data_offsets":[0,8])"), 8), "has no dtype");
  expect_refused(file_with(header(R"("dtype":"F32","data_offsets":[0,8])"), 8), "has no shape");
  expect_refused(file_with(header(ok + R"(,"offsets":[0,8])"), 8), "unknown key 'offsets'");
  expect_refused(file_with(header(ok + R"(,"shape":[2])"), 8), "'shape' is there twice");
  expect_refused(file_with("{\"w\":{" + ok + "},\"w\":{" + ok + "}}", 8), "'w' is there twice");
  expect_refused(file_with(header(R"("dtype":"F33","shape":[2],"data_offsets":[0,8])"), 8), "unknown dtype 'F33'");
  expect_refused(file_with(header(R"("dtype":32,"shape":[2],"data_offsets":[0,8])"), 8),
                 "dtype: found 32, want a text");
  expect_refused(file_with(header(R"("dtype":"F32","shape":2,"data_offsets":[0,8])"), 8),
                 "shape: found 2, want a list");
  expect_refused(file_with(header(R"("dtype":"F32","shape":[-2],"data_offsets":[0,8])"), 8), "shape: found -2");
  expect_refused(file_with(header(R"("dtype":"F32","shape":[2.0],"data_offsets":[0,8])"), 8), "shape: found 2.0");
  expect_refused(file_with(header(R"("dtype":"F32","shape":[[2]],"data_offsets":[0,8])"), 8), "shape: found a list");
  expect_refused(file_with(header(R"("dtype":"F32","shape":[{}],"data_offsets":[0,8])"), 8), "shape: found an object");
  expect_refused(file_with(header(R"("dtype":"F32","shape":[1,1,1,1,1,1,1,1,2],"data_offsets":[0,8])"), 8),
                 "more than 8");
  expect_refused(file_with(header(R"("dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8])"), 8),
                 "overflows");
  expect_refused(file_with(header(R"("dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,8])"), 8),
                 "shape: found");
  expect_refused(file_with(header(R"("dtype":"F32","shape":[99999999999999999999],"data_offsets":[0,8])"), 8),
                 "shape: found");
  expect_refused(file_with(header(R"("dtype":"F32","shape":[3],"data_offsets":[0,8])"), 8), "F32[3] has 96 bits");
  expect_refused(file_with(header(R"("dtype":"F4","shape":[3],"data_offsets":[0,1])"), 1), "F4[3] has 12 bits");
  expect_refused(file_with(header(R"("dtype":"F32","shape":[2],"data_offsets":[8,0])"), 8), "the first not above");
  expect_refused(file_with(header(R"("dtype":"F32","shape":[2],"data_offsets":[0,4,8])"), 8), "want two numbers");
  expect_refused(file_with(header(R"("dtype":"F32","shape":[2],"data_offsets":[4,12])"), 12), "there is a hole");
  expect_refused(file_with(header(ok), 12), "describes 8 bytes of data, the file has 12");
  const std::string overlap = "{\"v\":{" + ok + R"(},"w":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})";
  expect_refused(file_with(overlap, 12), "'w' begins at byte 4 of the data, want 8: it overlaps");
  expect_refused(file_with(R"({"__metadata__":{"a":1}})", 0), "__metadata__ 'a': found 1, want a text");
  expect_refused(file_with(R"({"__metadata__":{"a":"1","a":"2"}})", 0), "'a' is there twice");
  expect_refused(file_with("{\"\xff\":{" + ok + "}}", 8), "header: byte");
  expect_refused(file_with(header(ok).substr(0, 20), 8), "header: byte");
}

TEST_F(Safetensors, AHugeDeclaredHeaderCostsNothing) {
  for (const uint64_t size : {uint64_t{100'000'001}, ~uint64_t{0}, uint64_t{1} << 63, uint64_t{99'999'999}}) {
    std::string bytes(64, '{');
    std::memcpy(bytes.data(), &size, 8);
    expect_refused(bytes, "the header's length is " + std::to_string(size) + ", want at most 56");
  }
}

TEST_F(Safetensors, DeepNestingIsRefusedAtTheFirstLevelTooMany) {
  std::string deep = R"({"w":{"shape":)" + std::string(1'000'000, '[');
  expect_refused(file_with(deep, 0), "shape: found a list");
}

TEST_F(Safetensors, AcceptsTrailingSpacesAndPackedTypes) {
  write_file(path(), file_with(R"({"w":{"dtype":"F4","shape":[2,3],"data_offsets":[0,3]}}     )", 3));
  EXPECT_EQ(SafetensorsFile(path()).read_bytes("w").size(), 3);
  write_file(path(), file_with("{}", 0));
  EXPECT_TRUE(SafetensorsFile(path()).entries().empty());
}

TEST_F(Safetensors, DoesNotWriteWhatItCouldNotRead) {
  const std::vector<float> values = {1, 2};
  EXPECT_THROW(write_safetensors(path(), {tensor("w", "F32", {3}, values)}), Error);
  EXPECT_THROW(write_safetensors(path(), {tensor("w", "F31", {2}, values)}), Error);
  EXPECT_THROW(write_safetensors(path(), {tensor("w", "F32", {2}, values), tensor("w", "F32", {2}, values)}), Error);
  EXPECT_TRUE(folder_.empty());
}

}  // namespace
}  // namespace retain
