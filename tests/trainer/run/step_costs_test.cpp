#include "trainer/run/step_costs.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>

namespace retain::test {
namespace {

constexpr double kUnknown = NAN;

TEST(StepCosts, AreThoseOfAllRanks) {
  const std::array<RankCosts, 2> ranks = {
      RankCosts{.waiting_ms = 10, .all_ms = 100, .data_seconds = 0.5, .watts = 300, .joules = 900, .clock_mhz = 1755},
      RankCosts{.waiting_ms = 30, .all_ms = 100, .data_seconds = 0.1, .watts = 500, .joules = 1500, .clock_mhz = 1700}};
  const StepCosts costs = combine(ranks, 10, 4000);
  EXPECT_DOUBLE_EQ(costs.data_share.value(), 0.05) << "of the rank that waited longest";
  EXPECT_DOUBLE_EQ(costs.exchange_share.value(), 0.2) << "the mean";
  EXPECT_DOUBLE_EQ(costs.watts.value(), 800);
  EXPECT_DOUBLE_EQ(costs.joules.value(), 2400);
  EXPECT_DOUBLE_EQ(costs.clock_mhz.value(), 1700) << "the slowest";
  EXPECT_DOUBLE_EQ(costs.millijoules_per_token.value(), 2000);
}

TEST(StepCosts, WhatOneRankDoesNotKnowNobodyDoes) {
  const std::array<RankCosts, 2> ranks = {
      RankCosts{.waiting_ms = kUnknown, .all_ms = kUnknown, .watts = 300, .joules = 3, .clock_mhz = kUnknown},
      RankCosts{.waiting_ms = 1, .all_ms = 1, .watts = kUnknown, .joules = kUnknown, .clock_mhz = 1700}};
  const StepCosts costs = combine(ranks, 10, 4000);
  EXPECT_DOUBLE_EQ(costs.data_share.value(), 0);
  EXPECT_FALSE(costs.exchange_share);
  EXPECT_FALSE(costs.watts);
  EXPECT_FALSE(costs.joules);
  EXPECT_FALSE(costs.clock_mhz);
  EXPECT_FALSE(costs.millijoules_per_token);
}

}  // namespace
}  // namespace retain::test
