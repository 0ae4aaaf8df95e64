#include "trainer/run/slow_ranks.h"

#include <gtest/gtest.h>

namespace retain::test {
namespace {

using Ranks = std::vector<int>;

TEST(SlowRanks, NamesTheSlowestAndHowMuchSlowerItIs) {
  SlowRanks ranks;
  SlowestRank slowest = ranks.observe(10, std::vector<double>{10, 12, 10, 9});
  EXPECT_EQ(slowest.rank, 1);
  EXPECT_DOUBLE_EQ(slowest.ratio, 1.2);
  slowest = ranks.observe(20, std::vector<double>{11, 10});
  EXPECT_EQ(slowest.rank, 0);
  EXPECT_DOUBLE_EQ(slowest.ratio, 1.1);
  EXPECT_EQ(ranks.observe(30, std::vector<double>{0, 0}).ratio, 1);
}

TEST(SlowRanks, TellsOnceOfARankThatIsSlowForAHundredSteps) {
  SlowRanks ranks;
  for (int64_t step = 10; step <= 300; step += 10) {
    ranks.observe(step, std::vector<double>{10, 10, 10.6, 10.4});
    EXPECT_EQ(ranks.slow_for_long(), step == 110 ? Ranks{2} : Ranks{}) << step;
  }
}

TEST(SlowRanks, ARankThatRecoversBeginsAnew) {
  SlowRanks ranks;
  const auto tell = [&](int64_t from, int64_t to, double time) {
    Ranks told;
    for (int64_t step = from; step <= to; step += 10) {
      ranks.observe(step, std::vector<double>{10, 10, time});
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

TEST(SlowRanks, OneMeasurementIsNotEnoughHoweverRareTheyAre) {
  SlowRanks ranks;
  ranks.observe(1000, std::vector<double>{10, 20});
  EXPECT_EQ(ranks.slow_for_long(), Ranks{});
  ranks.observe(2000, std::vector<double>{10, 20});
  EXPECT_EQ(ranks.slow_for_long(), Ranks{1});
}

}  // namespace
}  // namespace retain::test
