#include "trainer/run/time_limit.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace retain::test {
namespace {

using std::chrono::seconds;
using ::testing::HasSubstr;

constexpr WallTimeGuard::Clock::time_point kNow{seconds{1'000'000}};

TEST(WallTimeGuard, NeedsAStepASaveTheOneInFlightAndAMargin) {
  WallTimeGuard guard({kNow + seconds{100}, "limits.wall_time = 100"}, 4);
  EXPECT_DOUBLE_EQ(guard.needed_seconds(false), 1.5 * 4 + 10);
  guard.step_took(2);
  guard.save_took(20);  // counts, and not what was guessed
  EXPECT_DOUBLE_EQ(guard.needed_seconds(false), 1.5 * (2 + 20) + 10);
  EXPECT_DOUBLE_EQ(guard.needed_seconds(true), 1.5 * (2 + 40) + 10);
  EXPECT_FALSE(guard.is_due(kNow + seconds{56}, false));
  EXPECT_TRUE(guard.is_due(kNow + seconds{58}, false));
  EXPECT_TRUE(guard.is_due(kNow + seconds{28}, true));
  EXPECT_TRUE(guard.is_due(kNow + seconds{1000}, false));
}

TEST(WallTimeGuard, ForgetsAHiccupAndNoSlowStepBeforeTheNext) {
  WallTimeGuard guard({kNow + seconds{1000}, "x"}, 0);
  guard.step_took(100);
  guard.step_took(1);
  EXPECT_GT(guard.needed_seconds(false), 1.5 * 90);
  for (int i = 0; i < 300; ++i) guard.step_took(1);
  EXPECT_DOUBLE_EQ(guard.needed_seconds(false), 1.5 * 1 + 10);
}

TEST(WallTimeGuard, SaysItsNumbers) {
  WallTimeGuard guard({kNow + seconds{3600}, "SLURM_JOB_END_TIME"}, 4);
  guard.step_took(0.5);
  EXPECT_THAT(guard.describe(kNow),
              HasSubstr("3600 s are left by SLURM_JOB_END_TIME; a step takes 0.50 s, a save perhaps "
                        "4.00 s; the run saves and ends when 17 s are left"));
}

}  // namespace
}  // namespace retain::test
