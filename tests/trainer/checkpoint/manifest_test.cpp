#include "trainer/checkpoint/manifest.h"

#include "tests/trainer/checkpoint/fixture.h"
#include "trainer/checkpoint/checksum.h"

namespace retain::test {
namespace {

using ::testing::HasSubstr;

// Two shards: a matrix cut into rows, a vector in one piece.
Manifest small_manifest() {
  Manifest manifest;
  manifest.state = test_run_state(12, {2, 1, 1});
  manifest.tensors = {{"w", {4, 6}}, {"norm.weight", {6}}};
  manifest.shards = {{{shard_file_name(0, 2), 600, {1}}, {{"w", {0, 0, 2, 6}, {100, 200, 300}}}},
                     {{shard_file_name(1, 2), 700, {2}},
                      {{"w", {2, 0, 2, 6}, {100, 200, 300}}, {"norm.weight", {0, 0, 6, 1}, {400, 500, 600}}}}};
  manifest.view = {kViewFileName, kChecksumBlockBytes + 1, {0xfedcba9876543210U, 4}};
  return manifest;
}

// The text with one replacement and the checksum that belongs to it: what a stranger could write.
std::string forged(const std::string& from, const std::string& to) {
  std::string text = to_text(small_manifest());
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  text.replace(at, from.size(), to);
  const size_t body = text.rfind(",\n\"checksum\"");
  return concat(text.substr(0, body), ",\n\"checksum\":\"", to_hex(checksum(text.data(), static_cast<int64_t>(body))),
                "\"}\n");
}

TEST(Manifest, SurvivesItsTextUnchanged) {
  const Manifest want = small_manifest();
  const std::string text = to_text(want);
  const Manifest got = parse_manifest(text);
  EXPECT_EQ(to_text(got), text);
  EXPECT_EQ(got.state.identity, want.state.identity);
  EXPECT_EQ(got.state.valid_loss, want.state.valid_loss);
  EXPECT_EQ(got.shards[1].boxes[1].box, want.shards[1].boxes[1].box);
  EXPECT_EQ(got.view.blocks, want.view.blocks);
  EXPECT_EQ(got.parameters(), 30);
}

TEST(Manifest, KeepsEveryBitOfALossAndTakesNoLoss) {
  Manifest manifest = small_manifest();
  manifest.state.valid_loss = 0x1.23456789abcdfp+1;
  EXPECT_EQ(parse_manifest(to_text(manifest)).state.valid_loss, 0x1.23456789abcdfp+1);
  manifest.state.valid_loss = std::numeric_limits<double>::quiet_NaN();
  EXPECT_NE(parse_manifest(to_text(manifest)).state.valid_loss, parse_manifest(to_text(manifest)).state.valid_loss);
}

TEST(Manifest, TakesWhatAnOlderProgramKeptAsExtra) {
  EXPECT_THAT(to_text(small_manifest()), HasSubstr(",\n\"extra\":{},\n"));
  const Manifest got = parse_manifest(forged("\"extra\":{}", "\"extra\":{\"loss_scale\":\"0x1p+16\"}"));
  EXPECT_EQ(to_text(got), to_text(small_manifest()));
}

TEST(Manifest, AcceptsTextThatIsNotUtf8InTheConfiguration) {
  Manifest manifest = small_manifest();
  manifest.state.config_text = "data: \xff\xfe";
  EXPECT_NO_THROW(parse_manifest(to_text(manifest)));
}

TEST(Manifest, EveryFlippedBitIsFound) {
  const std::string text = to_text(small_manifest());
  std::string damaged = text;
  for (size_t i = 0; i < text.size(); ++i) {
    for (int bit = 0; bit < 8; ++bit) {
      damaged[i] = static_cast<char>(text[i] ^ (1 << bit));
      EXPECT_THROW(parse_manifest(damaged), Error) << "byte " << i;
    }
    damaged[i] = text[i];
  }
}

TEST(Manifest, EveryTruncationAndAnyAdditionIsFound) {
  const std::string text = to_text(small_manifest());
  for (size_t n = 0; n < text.size(); ++n) EXPECT_THROW(parse_manifest(text.substr(0, n)), Error) << n;
  EXPECT_THROW(parse_manifest(text + "\n"), Error);
  EXPECT_THROW(parse_manifest(text + text), Error);
}

TEST(Manifest, RefusesForgedValuesWithTheReason) {
  const std::vector<std::array<std::string, 3>> cases = {
      {"\"version\":1", "\"version\":2", "format version 2"},
      {"retain-checkpoint", "other", "not a checkpoint"},
      {"\"step\":12", "\"step\":-1", "step: found -1, want at least 0"},
      {"\"step\":12", "\"step\":1.5", "step: found 1.5, want a whole number"},
      {"\"step\":12", "\"step\":18446744073709551615",
       "step: found 18446744073709551615, want at most 281474976710656"},
      {"\"step\":12", "\"step\":12,\"step\":13", "key 'step' is there twice"},
      {"\"step\":12", "\"steps\":12", "step: found nothing, want a whole number"},
      {"\"tokens\":49152", "\"tokens\":\"many\"", "tokens: found \"many\", want a whole number"},
      {"\"extra\":{", "\"extra\":{\"x\":" + std::string(40, '[') + std::string(40, ']') + ",",
       "extra.x: found a list that nests deeper than 32"},
      {"\"shape\":[4,6]", "\"shape\":[4,7]", "elements missing"},
      {"\"shape\":[4,6]", "\"shape\":[3,6]", "reaches out of"},
      {"\"shape\":[4,6]", "\"shape\":[281474976710656,281474976710656]", "shape is out of range"},
      {"\"shape\":[4,6]", "\"shape\":[4,6,1]", "tensors[0].shape: found more than 2 numbers"},
      {"\"shape\":[6]", "\"shape\":[0]", "shape is out of range"},
      {"\"offset\":[2,0]", "\"offset\":[1,0]", "overlap"},
      {"\"at\":[400,500,600]", "\"at\":[400,500,690]", "reaches past the end of shard-00001-of-00002.h5"},
      {"\"at\":[400,500,600]", "\"at\":[400,500]", "shards[1].boxes[1].at: found 2 numbers, want at least 3"},
      {"\"name\":\"w\"", "\"name\":\"../w\"", "illegal name"},
      {"\"name\":\"w\"", "\"name\":\"x\"", "not listed"},
      {"\"name\":\"w\"", "\"name\":\"norm.weight\"", "twice"},
      {"shard-00001-of-00002.h5", "shard-00000-of-00002.h5", "want shard-00001-of-00002.h5"},
      {"global.h5", "/etc/passwd", "another name"},
      {"\"bytes\":600", "\"bytes\":600000000", "1 checksums, want 144"},
      {"fedcba9876543210\",\"0", "fedcba987654321x\",\"0", "sixteen hexadecimal digits"},
      {"\"dtype\":\"float32\"", "\"dtype\":\"float16\"", "neither float32 nor float64"},
      {"\"block_bytes\":4194304", "\"block_bytes\":0", "block_bytes"},
      {"\"mesh\":[2,1,1]", "\"mesh\":[0,1,1]", "'mesh' is out of range"},
  };
  for (const auto& [from, to, reason] : cases) {
    EXPECT_THAT(error_of(ErrorKind::kData, [&] { parse_manifest(forged(from, to)); }), HasSubstr(reason)) << to;
  }
}

}  // namespace
}  // namespace retain::test
