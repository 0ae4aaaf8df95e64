#include "launch/config/value.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>

#include "launch/config/yaml.h"

namespace retain {
namespace {

TEST(ParseWhole, SuffixesAreExactPowers) {
  const std::vector<std::pair<std::string, int64_t>> cases = {
      {"0", 0},
      {"-0", 0},
      {"300", 300},
      {"-7", -7},
      {"4k", 4000},
      {"16Ki", 16384},
      {"4Mi", 4194304},
      {"2Gi", 2147483648},
      {"3M", 3000000},
      {"1.3B", 1300000000},
      {"0.5Ki", 512},
      {"1.5Ki", 1536},
      {"0.0009765625Ki", 1},
      {"100B", 100000000000},
      {"1e6", 1000000},
      {"2.5E3", 2500},
      {"1e+2", 100},
      {"1.50", -1},
      {"1.0", 1},
      {"100.00", 100},
      {"1.000000001B", 1000000001},
      {"9223372036854775807", std::numeric_limits<int64_t>::max()},
      {"9007199254740993", 9007199254740993},  // a double would round it
      {"0e99", 0},
  };
  for (const auto& [text, expected] : cases) {
    std::string problem;
    const auto value = parse_whole(text, problem);
    if (text == "1.50") {
      EXPECT_FALSE(value);
      continue;
    }
    ASSERT_TRUE(value) << text << ": " << problem;
    EXPECT_EQ(*value, expected) << text;
  }
}

TEST(ParseWhole, RefusesWhatIsNotWholeOrDoesNotFit) {
  for (const char* text : {"",
                           "-",
                           "+1",
                           "k",
                           "1.",
                           ".5k",
                           "1.5",
                           "1e-3",
                           "1e",
                           "1e1k",
                           "4K",
                           "4 k",
                           " 4",
                           "4 ",
                           "1_000",
                           "0x10",
                           "010",
                           "00",
                           "1,5",
                           "4kk",
                           "4ki",
                           "1e100",
                           "1e19",
                           "8Gi Gi",
                           "9223372036854775808",
                           "9223372036854775807k",
                           "10000000000B",
                           "nan",
                           "inf",
                           "12345678901234567890123"}) {
    std::string problem;
    EXPECT_FALSE(parse_whole(text, problem)) << text;
    EXPECT_NE(problem, "") << text;
  }
}

TEST(ParseReal, ReadsBackWhatPrintRealWrites) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 10000; ++i) {
    const uint64_t bits = random();
    double value = 0;
    static_assert(sizeof value == sizeof bits);
    std::memcpy(&value, &bits, sizeof value);
    if (!std::isfinite(value)) continue;
    std::string problem;
    const auto back = parse_real(print_real(value), problem);
    ASSERT_TRUE(back) << print_real(value);
    EXPECT_EQ(std::memcmp(&*back, &value, sizeof value), 0) << print_real(value);
  }
}

TEST(ParseReal, RefusesWhatIsNoFiniteNumber) {
  for (const char* text : {"", "nan", "inf", "-inf", ".inf", ".nan", "infinity", "1e999", "1e-999", "0x1p3", "1,5",
                           "1 ", " 1", "+1", "1e", "--1", "1.2.3", "e5", "."}) {
    std::string problem;
    EXPECT_FALSE(parse_real(text, problem)) << text;
    EXPECT_NE(problem, "") << text;
  }
}

TEST(PrintText, IsReadBackAsTheSameText) {
  for (const std::string text : {"runs/demo", "null",  "~",       "",      "-",  "--- x", "...",
                                 "a: b",      "a #b",  "{x}",     "größe", "5",  "true",  "\"quoted\" \\ back",
                                 "'",         "*a",    "&a",      "!t",    "%d", "@x",    "a,b",
                                 "[",         "C:\\x", " blank ", "1e5"}) {
    const ConfigNode node =
        parse_yaml("{a: " + print_text(text) + "}", {Origin::Kind::kFile, 0, 1, 1},
                   [](const Origin&, const std::string& message, const std::string&) { ADD_FAILURE() << message; });
    ASSERT_EQ(node.items.size(), 1u) << text;
    EXPECT_EQ(node.items[0].kind, ConfigNode::Kind::kScalar) << text;
    EXPECT_EQ(node.items[0].text, text);
  }
}

}  // namespace
}  // namespace retain
