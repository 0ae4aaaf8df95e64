#include "kernels/core/activity.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <stdexcept>
#include <string>

namespace retain::test {
namespace {

using std::chrono::milliseconds;

TEST(Activity, TellsPhasesLayersAndSigns) {
  Activity activity;
  EXPECT_STREQ(activity.view().host.phase, "");
  activity.at_step(3);
  activity.begin_phase("forward");
  activity.at_layer(2);
  const int64_t signs = activity.view().signs;
  {
    const LongWork save(activity, "a save");
    EXPECT_STREQ(activity.view().host.phase, "a save");
    EXPECT_TRUE(activity.view().patient);
  }
  EXPECT_STREQ(activity.view().host.phase, "forward");
  EXPECT_FALSE(activity.view().patient);
  EXPECT_GT(activity.view().signs, signs);
  activity.end_phase();
  for (int deep = 0; deep < 20; ++deep) activity.begin_phase("deep");
  EXPECT_STREQ(activity.view().host.phase, "deep");
  for (int deep = 0; deep < 20; ++deep) activity.end_phase();
  EXPECT_STREQ(activity.view().host.phase, "");
  EXPECT_EQ(activity.view().step, 3);
}

TEST(Activity, TellsWaitsOfItsOwnerAlone) {
  Activity activity;
  const auto look = [&] {
    EXPECT_EQ(activity.view().waits_for, WaitsFor::kRanks);
    EXPECT_STREQ(activity.view().waits_in, "all_reduce");
    EXPECT_TRUE(activity.view().waits_for_ranks);
    return true;
  };
  activity.wait(WaitsFor::kRanks, "all_reduce", [&] {
    activity.wait(WaitsFor::kDisk, "inside", [&] {
      EXPECT_STREQ(activity.view().waits_in, "inside");
      return true;
    });
    std::thread([&] { activity.wait(WaitsFor::kDisk, "of another thread", look); }).join();
    return look();
  });
  EXPECT_EQ(activity.view().waits_for, WaitsFor::kNothing);
}

TEST(Activity, ADeviceInACollectiveWaitsForRanks) {
  Activity activity;
  activity.device_waits_for_ranks(1);
  EXPECT_TRUE(activity.view().waits_for_ranks);
  activity.device_waits_for_ranks(-1);
  EXPECT_FALSE(activity.view().waits_for_ranks);
}

TEST(Activity, AsksWhileItWaitsAndThrowsWhatIsAnswered) {
  Activity activity;
  int asked = 0;
  {
    const Activity::Question counted(activity, [&] { ++asked; });
    activity.wait(WaitsFor::kDevice, "a copy", [&] { return asked >= 2; });
    const Activity::Question sick(activity, [] { throw std::runtime_error("the group is gone"); });
    EXPECT_THROW(activity.wait(WaitsFor::kDevice, "a copy", [] { return false; }), std::runtime_error);
    EXPECT_EQ(activity.view().waits_for, WaitsFor::kNothing);
  }
  const int before = asked;
  activity.ask();
  EXPECT_EQ(asked, before);
}

TEST(Activity, ShowsWhatGoesOnBesideForAsLongAsItDoes) {
  Activity activity, other;
  int seen = 0;
  const auto count = [&](const Activity::View&) { ++seen; };
  activity.look_beside(count);
  {
    const Activity::Beside beside(activity, other);
    activity.look_beside(count);
  }
  activity.look_beside(count);
  EXPECT_EQ(seen, 1);
}

}  // namespace
}  // namespace retain::test
