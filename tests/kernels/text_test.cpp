#include "kernels/core/text.h"

#include <gtest/gtest.h>

namespace retain {
namespace {

TEST(Text, EscapesWhatWouldSteerATerminalOrIsNoUtf8) {
  EXPECT_EQ(escape_controls("plain \xc3\xa9 \xf0\x9f\x98\x80"), "plain \xc3\xa9 \xf0\x9f\x98\x80");
  EXPECT_EQ(escape_controls("a\nb\x1b[31m\x7f\xc2\x9b"), "a\\x0ab\\x1b[31m\\x7f\\xc2\\x9b");
  EXPECT_EQ(escape_controls("\xff\xc3 \xed\xa0\x80 \xc0\x80"), "\\xff\\xc3 \\xed\\xa0\\x80 \\xc0\\x80");
}

TEST(Text, EscapesBreaksOfLinesByTheirLetters) {
  EXPECT_EQ(escape_lines("Gr\u00fc\u00dfe, \u4f60\u597d \xf0\x9f\x8c\x8d"),
            "Gr\u00fc\u00dfe, \u4f60\u597d \xf0\x9f\x8c\x8d");
  EXPECT_EQ(escape_lines(std::string_view("a\0b\x7f\r\t\n", 7)), "a\\x00b\\x7f\\r\\t\\n");
  EXPECT_EQ(escape_lines("\xc2\x9b\x33\xff"), "\\xc2\\x9b3\\xff") << "the one-character CSI";
  EXPECT_EQ(escape_lines("\xc2\xa0"), "\xc2\xa0") << "a no-break space is text";
}

TEST(Text, QuotesTheBeginningOfALongText) {
  EXPECT_EQ(in_quotes(""), "''");
  EXPECT_EQ(in_quotes(std::string(80, 'a')), "'" + std::string(80, 'a') + "'");
  EXPECT_EQ(in_quotes(std::string(81, 'a')), "'" + std::string(80, 'a') + "...'");
  EXPECT_EQ(in_quotes(std::string(79, 'a') + "\xc3\xa9 more"), "'" + std::string(79, 'a') + "...'");
}

TEST(Text, CountsCharactersNotBytes) {
  EXPECT_EQ(count_characters(""), 0);
  EXPECT_EQ(count_characters("a\xc3\xa9\xf0\x9f\x98\x80"), 3);
}

TEST(Text, AWordOfALineIsQuotedOnlyWhereItMustBe) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"runs/größe=1", "runs/größe=1"},
      {"", "\"\""},
      {"a b", "\"a b\""},
      {"it's", "\"it's\""},
      {"a\"b", R"("a\"b")"},
      {R"(a\b)", R"("a\\b")"},
      {"a\nb\x1b", R"("a\nb\x1b")"},
  };
  for (const auto& [text, word] : cases) EXPECT_EQ(as_word(text), word);
}

}  // namespace
}  // namespace retain
