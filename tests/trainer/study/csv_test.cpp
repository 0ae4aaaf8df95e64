#include "trainer/study/csv.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernels/core/error.h"

namespace retain::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<std::string> texts(const std::vector<CsvField>& row) {
  std::vector<std::string> texts;
  for (const CsvField& field : row) texts.push_back(field.text);
  return texts;
}

std::string complaint(const std::string& text) {
  try {
    parse_csv(text, "a.csv");
  } catch (const Error& error) {
    EXPECT_EQ(error.exit_code(), 65);
    return error.what();
  }
  ADD_FAILURE() << "accepted";
  return "";
}

TEST(Csv, QuotedFieldsHoldCommasQuotesAndLines) {
  const CsvTable table = parse_csv("a,\"b \"\"c\"\"\",d\r\n\"x,\ny\",,z\n", "a.csv");
  EXPECT_THAT(texts(table.header), ElementsAre("a", "b \"c\"", "d"));
  ASSERT_EQ(table.rows.size(), 1U);
  EXPECT_THAT(texts(table.rows[0]), ElementsAre("x,\ny", "", "z"));
  EXPECT_EQ(table.find("d"), 2);
  EXPECT_EQ(table.find("e"), -1);
}

TEST(Csv, ALastLineNeedsNoEndAByteOrderMarkAndEmptyLinesAreNothing) {
  const CsvTable table = parse_csv(
      "\xEF\xBB\xBF"
      "a,b\n\n1,2\n\n3,4",
      "a.csv");
  EXPECT_THAT(texts(table.header), ElementsAre("a", "b"));
  ASSERT_EQ(table.rows.size(), 2U);
  EXPECT_EQ(table.rows[1][1].line, 5);
  EXPECT_EQ(table.rows[1][1].column, 3);
}

TEST(Csv, SaysWhereItIsWrong) {
  EXPECT_THAT(complaint("a,b\n1,2\n3\n"), HasSubstr("a.csv:3:1: this row has 1 fields and the header 2"));
  EXPECT_THAT(complaint("a,b\n1,x\"y\n"), HasSubstr("a.csv:2:4: found '\"' in a field"));
  EXPECT_THAT(complaint("a,b\n\"x\"y,2\n"), HasSubstr("a.csv:2:4: found 'y' in a field"));
  EXPECT_THAT(complaint("a,b\n1,\"x\n2,3\n"), HasSubstr("a.csv:2:3: a quoted field begins here and never ends"));
  EXPECT_THAT(complaint("a,b,a\n"), HasSubstr("a.csv:1:5: the column 'a' stands twice"));
  EXPECT_THAT(complaint("\n\n"), HasSubstr("a.csv:1:1: no header"));
}

TEST(Csv, LinesQuoteWhatWouldBreakARecord) {
  EXPECT_EQ(csv_line({"a", "1.5", ""}), "a,1.5,\n");
  EXPECT_EQ(csv_line({"a,b", "say \"x\"", "two\nlines", "end\r"}),
            "\"a,b\",\"say \"\"x\"\"\",\"two\nlines\",\"end\r\"\n");
  EXPECT_EQ(csv_line({}), "\n");
}

}  // namespace
}  // namespace retain::test
