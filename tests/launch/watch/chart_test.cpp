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

}  // namespace
}  // namespace retain
