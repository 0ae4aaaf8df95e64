#include "launch/session.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>

#include "tests/support/ranks.h"

namespace retain {
namespace {

TEST(Session, RanksThatSeeTheSameAgree) {
  test::run_ranks(3, [](Communicator& host) {
    EXPECT_EQ(agree_on_target(host, {}, true, 1).device, DeviceKind::kCuda);
    EXPECT_EQ(agree_on_target(host, {}, false, 1).device, DeviceKind::kCpu);
  });
}

TEST(Session, EveryRankRefusesWhenOneAloneHasNoGpu) {
  std::atomic<int> refusals = 0;
  test::run_ranks(3, [&](Communicator& host) {
    try {
      agree_on_target(host, {}, host.rank() != 1, 1);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kDevice);
      EXPECT_THAT(error.what(), ::testing::HasSubstr("for rank 0 and none for rank 1"));
      ++refusals;
    }
    Config config;
    config.device = DeviceKind::kCpu;
    EXPECT_EQ(agree_on_target(host, config, host.rank() != 1, 1).device, DeviceKind::kCpu);
  });
  EXPECT_EQ(refusals, 3);
}

}  // namespace
}  // namespace retain
