#include "trainer/study/csv_line.h"

#include <gtest/gtest.h>

namespace retain::test {
namespace {

TEST(CsvLine, QuotesWhatWouldBreakARecord) {
  EXPECT_EQ(study::csv_line({"a", "1.5", ""}), "a,1.5,\n");
  EXPECT_EQ(study::csv_line({"a,b", "say \"x\"", "two\nlines", "end\r"}),
            "\"a,b\",\"say \"\"x\"\"\",\"two\nlines\",\"end\r\"\n");
  EXPECT_EQ(study::csv_line({}), "\n");
}

}  // namespace
}  // namespace retain::test
