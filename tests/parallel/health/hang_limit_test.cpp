#include "parallel/health/hang_limit.h"

#include <gtest/gtest.h>

namespace retain {
namespace {

using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

TEST(HangLimit, IsLearnedFromTheLongestGap) {
  HangLimit limit;
  EXPECT_EQ(limit.usual(), seconds{10});
  EXPECT_EQ(limit.patient(), minutes{10});
  limit.saw_gap(seconds{1});
  EXPECT_EQ(limit.usual(), seconds{10});
  limit.saw_gap(seconds{4});
  limit.saw_gap(seconds{3});
  EXPECT_EQ(limit.usual(), seconds{20});
  limit.saw_gap(seconds{20});
  EXPECT_EQ(limit.usual(), seconds{60});
  limit.saw_gap(seconds{50});
  EXPECT_EQ(limit.usual(), seconds{100});
  EXPECT_EQ(limit.patient(), seconds{1000});
}

TEST(HangLimit, StaysAsConfigured) {
  HangLimit limit(seconds{3});
  limit.saw_gap(seconds{50});
  EXPECT_EQ(limit.usual(), seconds{3});
  EXPECT_EQ(limit.of(true), seconds{30});
}

TEST(ProgressClock, CountsFromTheLastSignAndLearnsGaps) {
  Activity activity;
  HangLimit limit;
  ProgressClock clock;
  clock.look(activity.view(), seconds{7}, limit);
  EXPECT_EQ(clock.idle(), seconds{0});  // what was before the first look is nobody's gap
  clock.look(activity.view(), seconds{3}, limit);
  EXPECT_EQ(clock.idle(), seconds{3});
  activity.progress();
  clock.look(activity.view(), seconds{1}, limit);
  EXPECT_EQ(clock.idle(), seconds{0});
  EXPECT_EQ(limit.usual(), seconds{20});
}

TEST(ProgressClock, LearnsNothingFromWorkThatMayTakeLong) {
  Activity activity;
  HangLimit limit;
  ProgressClock clock;
  clock.look(activity.view(), seconds{0}, limit);
  {
    const LongWork save(activity, "a save");
    clock.look(activity.view(), seconds{30}, limit);
    EXPECT_TRUE(activity.view().patient);
  }
  clock.look(activity.view(), seconds{1}, limit);
  EXPECT_EQ(limit.usual(), seconds{10});
  EXPECT_FALSE(activity.view().patient);
}

TEST(ProgressClock, IsRestartedByWhoeverDidNotRunItself) {
  Activity activity;
  HangLimit limit;
  ProgressClock clock;
  clock.look(activity.view(), seconds{0}, limit);
  clock.look(activity.view(), seconds{9}, limit);
  clock.restart();
  clock.look(activity.view(), milliseconds{500}, limit);
  EXPECT_EQ(clock.idle(), milliseconds{500});
}

}  // namespace
}  // namespace retain
