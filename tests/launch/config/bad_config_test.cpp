// Runs the table bad_configs.txt: what is said about each wrong configuration is in bad_configs.golden.
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

#include "tests/launch/config/support.h"

namespace retain {
namespace {

struct Case {
  std::string name;
  ConfigSources sources;
  std::vector<std::string> sets;
  int ranks = 1;
};

std::vector<Case> read_cases() {
  std::ifstream in(test::source_path("tests/launch/config/bad_configs.txt"));
  std::vector<Case> cases;
  std::string line;
  std::string* text = nullptr;
  while (std::getline(in, line)) {
    if (line.starts_with("=== ")) {
      cases.push_back({line.substr(4), test::sources_of(""), {}, 1});
      text = &cases.back().sources.files[0].text;
    } else if (line.starts_with("--- file ")) {
      cases.back().sources.files.push_back({line.substr(9), ""});
      text = &cases.back().sources.files.back().text;
    } else if (line.starts_with("--- set ")) {
      cases.back().sets.push_back(line.substr(8));
    } else if (line.starts_with("--- ranks ")) {
      cases.back().ranks = std::atoi(line.c_str() + 10);
    } else if (text) {
      *text += line + "\n";
    }
  }
  return cases;
}

std::string complaint(const Case& c) {
  try {
    parse_config(c.sources, c.sets, c.ranks);
  } catch (const ConfigError& error) {
    EXPECT_EQ(error.exit_code(), 78);
    return error.what();
  }
  return "(nothing)";
}

TEST(BadConfig, EveryMistakeIsNamedWithItsPlaceAndTheLegalValues) {
  const std::vector<Case> cases = read_cases();
  EXPECT_GE(cases.size(), 100u);
  std::string said;
  for (const Case& c : cases) {
    const std::string text = complaint(c);
    EXPECT_NE(text, "(nothing)") << c.name;
    said += "=== " + c.name + "\n" + text + "\n";
  }
  test::expect_golden(said, "tests/launch/config/bad_configs.golden");
}

TEST(BadConfig, BytesThatAreNoTextAreNamedAndNeverPrinted) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {std::string("run: {dir: a\0b}", 15), "run.yaml:1:13: control character \\x00"},
      {"run:\n  dir: a\x1b[31mb\n", "run.yaml:2:9: control character \\x1b"},
      {"run:\r\n  dir: a\rb\r\n", "run.yaml:2:9: control character \\x0d"},
      {"run: {dir: \xff}\n", "run.yaml:1:12: not UTF-8 text: byte \\xff"},
      {"run: {dir: \xc3}\n", "run.yaml:1:12: not UTF-8 text: byte \\xc3"},
      {"run: {dir: \xed\xa0\x80}\n", "run.yaml:1:12: not UTF-8 text: byte \\xed"},
      {"run: {dir: \xf4\x90\x80\x80}\n", "run.yaml:1:12: not UTF-8 text: byte \\xf4"},
      {"run: {dir: \xc0\xaf}\n", "run.yaml:1:12: not UTF-8 text: byte \\xc0"},
      {"\xff\xfer\0u\0n\0", "run.yaml:1:1: not UTF-8 text: byte \\xff"},
      {"run: {dir: \xc2\x85}\n", "run.yaml:1:12: control character \\xc2"},
  };
  for (const auto& [text, expected] : cases) {
    const std::string said = test::complaint(text);
    EXPECT_EQ(said.substr(0, said.find('\n')), expected);
    for (char c : said) EXPECT_TRUE(c == '\n' || (static_cast<unsigned char>(c) >= 0x20 && c != 0x7f)) << expected;
  }
}

TEST(BadConfig, ManyMistakesAreCountedButNotAllPrinted) {
  std::string text = "base: [good.yaml]\nmodel:\n";
  for (int i = 0; i < 300; ++i) text += "  zzz" + std::to_string(i) + "zzz: 1\n";
  const std::string said = test::complaint(text);
  EXPECT_NE(said.find("… and 250 more\n300 errors; nothing was started."), std::string::npos) << said;
}

TEST(BadConfig, HostileNestingAndSizesEndInAnErrorSoon) {
  const std::string deep_list = "model: " + std::string(100'000, '[');
  const std::string deep_map = "model: " + std::string(100'000, '{');
  std::string staircase, many = "data:\n  valid:\n";
  for (int i = 0; i < 600; ++i) staircase += std::string(static_cast<size_t>(i), ' ') + "a:\n";
  for (int i = 0; i < 20'000; ++i) many += "    n" + std::to_string(i) + ": [\n";
  for (const std::string& text :
       {deep_list, deep_map, staircase, many, "a: " + std::string(500'000, 'x'), std::string(500'000, 'x') + ": 3",
        std::string(400'000, '-'), std::string(90'000, '?')})
    EXPECT_NE(test::complaint(text), "") << text.substr(0, 20);
}

}  // namespace
}  // namespace retain
