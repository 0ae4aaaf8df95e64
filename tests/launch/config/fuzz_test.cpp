// Thousands of random edits of reference.yaml: each is accepted or refused with a ConfigError, and never takes long.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "launch/config/schema.h"
#include "tests/launch/config/support.h"

namespace retain {
namespace {

class Mutator {
 public:
  explicit Mutator(uint32_t seed) : random_(seed) {}

  std::string mutate(std::string text) {
    const int edits = 1 + below(4);
    for (int i = 0; i < edits; ++i) edit(text);
    return text;
  }

 private:
  int below(size_t n) { return static_cast<int>(std::uniform_int_distribution<size_t>(0, n - 1)(random_)); }
  size_t place(const std::string& text) { return static_cast<size_t>(below(text.size() + 1)); }

  void edit(std::string& text) {
    const std::vector<std::string> pieces = {":",
                                             ": ",
                                             "\n",
                                             "  ",
                                             "\t",
                                             "-",
                                             "- ",
                                             "[",
                                             "]",
                                             "{",
                                             "}",
                                             ",",
                                             "#",
                                             "'",
                                             "\"",
                                             "\\",
                                             "&a",
                                             "*a",
                                             "!!",
                                             "<<: ",
                                             "|\n",
                                             ">\n",
                                             "?",
                                             "? ",
                                             "%",
                                             "@",
                                             "`",
                                             "~",
                                             "no",
                                             ".nan",
                                             "1e400",
                                             "-1",
                                             "Ki",
                                             "99M",
                                             "é",
                                             "\xff",
                                             "\r",
                                             "---\n",
                                             "...\n",
                                             "null",
                                             "0",
                                             "auto",
                                             "\x01",
                                             "base: [reference.yaml]\n",
                                             std::string(1, '\0'),
                                             "999999999999999999999",
                                             "\"\\x00\"",
                                             "!<tag:x> ",
                                             "\xe2\x80\xa8",
                                             "\xef\xbb\xbf"};
    const size_t at = place(text);
    switch (below(6)) {
      case 0: text.insert(at, pieces[static_cast<size_t>(below(pieces.size()))]); break;
      case 1: text.erase(at, static_cast<size_t>(below(12))); break;
      case 2:
        if (at < text.size()) text[at] = static_cast<char>(below(256));
        break;
      case 3: text.insert(at, text.substr(place(text), static_cast<size_t>(below(60)))); break;
      case 4: {  // a line somewhere else
        const size_t begin = text.rfind('\n', at == 0 ? 0 : at - 1), end = text.find('\n', at);
        if (begin != std::string::npos && end != std::string::npos)
          text.insert(std::min(text.size(), text.find('\n', place(text))), text.substr(begin, end - begin));
        break;
      }
      default: text.resize(at); break;
    }
  }

  std::mt19937 random_;
};

TEST(ConfigFuzz, RandomEditsAreAcceptedOrRefusedButNeverFatal) {
  const std::string reference = reference_yaml();
  Mutator mutator(20240607);
  int accepted = 0, refused = 0;
  for (int i = 0; i < 4000; ++i) {
    ConfigSources sources;
    sources.files = {{"reference.yaml", mutator.mutate(reference)}};
    try {
      const ParsedConfig parsed = parse_config(sources, {}, 1);
      ++accepted;
      ConfigSources again;
      again.files = {{"resolved.yaml", parsed.resolved}};
      EXPECT_NO_THROW(parse_config(again, {}, 1)) << sources.files[0].text;
    } catch (const ConfigError& error) {
      EXPECT_EQ(error.exit_code(), 78);
      ++refused;
      for (const char* c = error.what(); *c; ++c)
        ASSERT_TRUE(*c == '\n' || (static_cast<unsigned char>(*c) >= 0x20 && *c != 0x7f)) << error.what();
    }
  }
  EXPECT_GT(accepted, 200);
  EXPECT_GT(refused, 1000);
}

TEST(ConfigFuzz, RandomSetsAreAcceptedOrRefused) {
  Mutator mutator(7);
  int refused = 0;
  for (int i = 0; i < 3000; ++i) {
    const std::string set = mutator.mutate(i % 2 ? "data.train=[{path: x, weight: 2}]" : "optimizer.lr=3e-4");
    refused += test::complaint("base: [good.yaml]\n", {set}).empty() ? 0 : 1;
  }
  EXPECT_GT(refused, 1000);
}

}  // namespace
}  // namespace retain
