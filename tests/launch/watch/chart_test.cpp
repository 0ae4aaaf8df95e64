#include "launch/watch/chart.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace retain {
namespace {

using Lines = std::vector<std::string>;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

TEST(Chart, BinsAreTheMeansOfEqualParts) {
  EXPECT_EQ(bin_means({1, 3, 5, 7}, 2), (std::vector<double>{2, 6}));
  EXPECT_EQ(bin_means({1, 2, 3, 4, 5}, 2), (std::vector<double>{1.5, 4}));
  EXPECT_EQ(bin_means({1, 2}, 5), (std::vector<double>{1, 2})) << "fewer than there are columns";
  EXPECT_EQ(bin_means({1, 3, kNan, kNan, 5, kNan}, 3), (std::vector<double>{2, 2, 5})) << "what is missing goes on";
  EXPECT_TRUE(bin_means({1}, 0).empty());
}

TEST(Chart, ColumnsGoFromNearlyEmptyToFull) {
  EXPECT_EQ(draw_columns({0, 7, kNan, 3}, 1, false), (Lines{"▁█ ▄"}));
  EXPECT_EQ(draw_columns({0, 15}, 2, false), (Lines{" █", "▁█"}));
  EXPECT_EQ(draw_columns({2, 2}, 1, false), (Lines{"▅▅"})) << "what does not move";
  EXPECT_EQ(draw_columns({0, 7, kNan}, 1, true), (Lines{".# "}));
}

TEST(Chart, NumbersHaveThreeDigitsAndAPrefix) {
  EXPECT_EQ(short_number(0), "0");
  EXPECT_EQ(short_number(999), "999");
  EXPECT_EQ(short_number(999.6), "1.00 k");
  EXPECT_EQ(short_number(1234), "1.23 k");
  EXPECT_EQ(short_number(45.6e6), "45.6 M");
  EXPECT_EQ(short_number(-1500), "-1.50 k");
  EXPECT_EQ(short_bytes(12), "12 B");
  EXPECT_EQ(short_bytes(57.0 * (1 << 20)), "57.0 MiB");
}

TEST(Chart, DurationsHaveTwoUnits) {
  EXPECT_EQ(short_duration(5.4), "5 s");
  EXPECT_EQ(short_duration(125), "2 min 5 s");
  EXPECT_EQ(short_duration(3 * 3600 + 12 * 60 + 40), "3 h 12 min");
  EXPECT_EQ(short_duration(50 * 3600), "2 d 2 h");
  EXPECT_EQ(short_duration(-1), "0 s");
}

}  // namespace
}  // namespace retain
