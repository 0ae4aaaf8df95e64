#include "parallel/nccl/gpu_identity.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernels/backend.h"
#include "parallel/nccl/nccl_communicator.h"
#include "tests/support/ranks.h"

namespace retain {
namespace {

using ::testing::HasSubstr;

TEST(GpuIdentity, DistinctGpusAndDistinctMachinesAreFine) {
  EXPECT_EQ(describe_shared_gpu({{"a", "m1", "0000:1B:00.0"}, {"a", "m1", "0000:2B:00.0"}}), "");
  EXPECT_EQ(describe_shared_gpu({{"a", "m1", "0000:1B:00.0"}, {"b", "m2", "0000:1B:00.0"}}), "");
  EXPECT_EQ(describe_shared_gpu({{"node", "m1", "0000:1B:00.0"}, {"node", "m2", "0000:1B:00.0"}}), "")
      << "two machines of one name";
}

TEST(GpuIdentity, SharingIsToldWithRanksHostBusIdAndRemedy) {
  const std::string text =
      describe_shared_gpu({{"a", "m1", "0000:1B:00.0"}, {"b", "m2", "0000:1B:00.0"}, {"b", "m2", "0000:1B:00.0"}});
  EXPECT_THAT(text, HasSubstr("ranks 1 and 2"));
  EXPECT_THAT(text, HasSubstr("0000:1B:00.0 of host b"));
  EXPECT_THAT(text, HasSubstr("--map-by ppr:N:node"));
}

TEST(GpuIdentity, ContainersOfOneMachineShareIt) {
  EXPECT_NE(describe_shared_gpu({{"box1", "m1", "0000:1B:00.0"}, {"box2", "m1", "0000:1B:00.0"}}), "");
  EXPECT_NE(describe_shared_gpu({{"box", "", "0000:1B:00.0"}, {"box", "", "0000:1B:00.0"}}), "") << "no boot id";
}

TEST(GpuIdentity, EveryRankGathersTheSameList) {
  test::on_every_group([](Communicator& host) {
    const auto ranks = gather_identities(host, local_gpu(concat("bus ", host.rank())));
    ASSERT_EQ(static_cast<int>(ranks.size()), host.size());
    for (int r = 0; r < host.size(); ++r) EXPECT_EQ(ranks[static_cast<std::size_t>(r)].bus_id, concat("bus ", r));
    EXPECT_FALSE(ranks[0].host.empty());
  });
}

TEST(NcclCommunicator, OneRankNeedsNoGpu) {
  const auto host = make_self_communicator();
  EXPECT_STREQ(make_nccl_communicator(*host, 0, nullptr)->name(), "self");
}

TEST(NcclCommunicator, WithoutAGpuTheErrorIsAboutTheDevice) {
  if (cuda_device_count() > 0) GTEST_SKIP() << "this machine has a GPU";
  try {
    test::run_ranks(2, [](Communicator& host) { make_nccl_communicator(host, 0, nullptr); });
    FAIL() << "nothing was thrown";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kDevice) << e.what();
  }
}

}  // namespace
}  // namespace retain
