#include "trainer/run/slow_ranks.h"

#include <gtest/gtest.h>

namespace retain::test {
namespace {

using Ranks = std::vector<int>;

/// In a run whose steps take a second.
SlowestRank observe(SlowRanks& ranks, int64_t step, const std::vector<double>& times) {
  return ranks.observe(step, static_cast<double>(step), times);
}

TEST(SlowRanks, NamesTheSlowestAndHowMuchSlowerItIs) {
  SlowRanks ranks;
  SlowestRank slowest = observe(ranks, 10, {10, 12, 10, 9});
  EXPECT_EQ(slowest.rank, 1);
  EXPECT_DOUBLE_EQ(slowest.ratio, 1.2);
  slowest = observe(ranks, 20, {11, 10});
  EXPECT_EQ(slowest.rank, 0);
  EXPECT_DOUBLE_EQ(slowest.ratio, 1.1);
  EXPECT_EQ(observe(ranks, 30, {0, 0}).ratio, 1);
}

TEST(SlowRanks, TellsOnceOfARankThatIsSlowForAHundredSteps) {
  SlowRanks ranks;
  for (int64_t step = 10; step <= 300; step += 10) {
    observe(ranks, step, {10, 10, 10.6, 10.4});
    EXPECT_EQ(ranks.slow_for_long(), step == 110 ? Ranks{2} : Ranks{}) << step;
  }
}

TEST(SlowRanks, ARankThatRecoversBeginsAnew) {
  SlowRanks ranks;
  const auto tell = [&](int64_t from, int64_t to, double time) {
    Ranks told;
    for (int64_t step = from; step <= to; step += 10) {
      observe(ranks, step, {10, 10, time});
      told.insert(told.end(), ranks.slow_for_long().begin(), ranks.slow_for_long().end());
    }
    return told;
  };
  EXPECT_EQ(tell(10, 100, 12), Ranks{});
  EXPECT_EQ(tell(110, 110, 10), Ranks{});
  EXPECT_EQ(tell(120, 210, 12), Ranks{});
  EXPECT_EQ(tell(220, 400, 12), Ranks{2});
  EXPECT_EQ(tell(410, 410, 10), Ranks{});
  EXPECT_EQ(tell(420, 600, 12), Ranks{2}) << "of the next episode";
}

TEST(SlowRanks, AHundredStepsThatAreOverInAMomentSayNothing) {
  SlowRanks ranks;
  std::vector<int64_t> told;
  for (int64_t step = 1; step <= 20'000; ++step) {
    ranks.observe(step, 1e-3 * static_cast<double>(step), std::vector<double>{10, 12});
    if (!ranks.slow_for_long().empty()) told.push_back(step);
  }
  EXPECT_EQ(told, std::vector<int64_t>{10'001});
}

TEST(SlowRanks, OneMeasurementIsNotEnoughHoweverRareTheyAre) {
  SlowRanks ranks;
  observe(ranks, 1000, {10, 20});
  EXPECT_EQ(ranks.slow_for_long(), Ranks{});
  observe(ranks, 2000, {10, 20});
  EXPECT_EQ(ranks.slow_for_long(), Ranks{1});
}

}  // namespace
}  // namespace retain::test
