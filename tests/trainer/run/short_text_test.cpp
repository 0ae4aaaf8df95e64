#include "trainer/run/short_text.h"

#include <gtest/gtest.h>

namespace retain::test {
namespace {

TEST(ShortText, NumbersHaveThreeDigitsAndAPrefix) {
  EXPECT_EQ(short_number(0), "0");
  EXPECT_EQ(short_number(999), "999");
  EXPECT_EQ(short_number(999.6), "1.00 k");
  EXPECT_EQ(short_number(1234), "1.23 k");
  EXPECT_EQ(short_number(45.6e6), "45.6 M");
  EXPECT_EQ(short_number(-1500), "-1.50 k");
  EXPECT_EQ(short_bytes(12), "12 B");
  EXPECT_EQ(short_bytes(57.0 * (1 << 20)), "57.0 MiB");
}

TEST(ShortText, DurationsHaveTwoUnits) {
  EXPECT_EQ(short_duration(5.4), "5 s");
  EXPECT_EQ(short_duration(125), "2 min 5 s");
  EXPECT_EQ(short_duration(3 * 3600 + 12 * 60 + 40), "3 h 12 min");
  EXPECT_EQ(short_duration(50 * 3600), "2 d 2 h");
  EXPECT_EQ(short_duration(-1), "0 s");
  EXPECT_EQ(compact_duration(5.4), "5s");
  EXPECT_EQ(compact_duration(125), "2m05s");
  EXPECT_EQ(compact_duration(3 * 3600 + 2 * 60 + 40), "3h02m");
  EXPECT_EQ(compact_duration(50 * 3600), "2d02h");
}

}  // namespace
}  // namespace retain::test
