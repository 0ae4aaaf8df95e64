#include "trainer/run/start_clock.h"

#include <gtest/gtest.h>

namespace retain {
namespace {

TEST(StartClock, PartsAddUpToTheWhole) {
  using std::chrono::seconds;
  const StartClock::Clock::time_point now = StartClock::Clock::now();
  StartClock clock(2);  // since 0, on a clock that shows 2 now
  clock.end_part("data", now + seconds(1));
  clock.end_part("model", now + seconds(5));
  clock.move_last(0.5, "data");
  clock.end_part("first step", now + seconds(8));
  ASSERT_EQ(clock.parts().size(), 3U);
  EXPECT_NEAR(clock.parts()[0].second, 3.5, 0.25);
  EXPECT_DOUBLE_EQ(clock.parts()[1].second, 3.5);
  EXPECT_NEAR(clock.seconds(), 10, 0.25);
  EXPECT_NE(clock.describe().find(" s: data 3."), std::string::npos) << clock.describe();
  EXPECT_NE(clock.describe().find(", model 3.50, first step 3.00"), std::string::npos) << clock.describe();
}

TEST(StartClock, KnowsWhenTheProcessBegan) {
  EXPECT_GT(process_seconds(), 0);
  EXPECT_LT(process_seconds(), 3600);
}

}  // namespace
}  // namespace retain
