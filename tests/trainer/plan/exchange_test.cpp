// What ranks send over which links.
#include "trainer/plan/exchange.h"

#include <gtest/gtest.h>

#include "kernels/core/error.h"

namespace retain::test {
namespace {

const Dealing kEven{.micro_batches = 8, .replicas = 4};

TEST(Exchange, AGroupOnOneMachineSendsNothingBetweenMachines) {
  const std::vector<Traffic> traffic = {{.name = "tp activations", .axis = MeshAxis::kTp, .bytes_a_pass = 10},
                                        {.name = "gradients", .bytes_a_step = 1200}};
  const MeshShape mesh{4, 1, 2};
  for (const bool ring : {false, true}) {
    const RankExchanges one = busiest_exchanges(traffic, mesh, kEven, machines_of(8, 8), ring);
    EXPECT_EQ(one.machines, 1);
    ASSERT_EQ(one.parts.size(), 2U);
    EXPECT_EQ(one.parts[0].sent.inside, 2 * 10) << "two micro-batches";
    EXPECT_EQ(one.parts[1].sent.inside, 1200);
    EXPECT_EQ(one.parts[0].sent.between + one.parts[1].sent.between, 0);
  }
}

TEST(Exchange, ARingLeavesAMachineOnceAndADirectExchangeGoesToEachRank) {
  const std::vector<Traffic> traffic = {{.name = "tp activations", .axis = MeshAxis::kTp, .bytes_a_pass = 10},
                                        {.name = "gradients", .bytes_a_step = 1200}};
  const MeshShape mesh{4, 1, 2};  // of tp, replicas 0 and 1 on the first machine
  const RankExchanges ring = busiest_exchanges(traffic, mesh, kEven, machines_of(8, 4), true);
  EXPECT_EQ(ring.machines, 2);
  EXPECT_EQ(ring.parts[0].sent.between, 0);
  EXPECT_EQ(ring.parts[1].sent.between, 600) << "two ranks share what leaves their machine";
  EXPECT_EQ(ring.parts[1].sent.inside, 600);
  EXPECT_EQ(ring.parts[1].received.between, 600);
  const RankExchanges direct = busiest_exchanges(traffic, mesh, kEven, machines_of(8, 4), false);
  EXPECT_EQ(direct.parts[1].sent.between, 800) << "to two of three others";
}

TEST(Exchange, TheRankThatHasTheMostIsNamed) {
  const std::vector<Traffic> traffic = {{.name = "gradients", .bytes_a_step = 1200}};
  // Seven replicas on machines of 2, the last of which has one: it shares its link with nobody.
  const MeshShape mesh{7, 1, 1};
  const Dealing dealing{.micro_batches = 7, .replicas = 7};
  const RankExchanges last = busiest_exchanges(traffic, mesh, dealing, machines_of(7, 2), true);
  EXPECT_EQ(last.rank, 6);
  EXPECT_EQ(last.machines, 4);
  EXPECT_EQ(last.parts[0].sent.between, 1200);

  // With 5 micro-batches over 3 replicas of tp 2 the third has fewer; of equals the first is named.
  const std::vector<Traffic> activations = {{.name = "tp activations", .axis = MeshAxis::kTp, .bytes_a_pass = 10}};
  const RankExchanges first =
      busiest_exchanges(activations, {3, 1, 2}, {.micro_batches = 5, .replicas = 3}, machines_of(6, 8), true);
  EXPECT_EQ(first.rank, 0);
  EXPECT_EQ(first.parts[0].sent.inside, 20);
}

TEST(Exchange, AProductThatDoesNotFitIsRefused) {
  EXPECT_EQ(checked_product({3, 5, 7}), 105);
  try {
    checked_product({int64_t{1} << 40, 3, int64_t{1} << 40});
    FAIL() << "counted";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kConfig);
    EXPECT_NE(std::string(error.what()).find("1099511627776 x 3 x 1099511627776 bytes"), std::string::npos);
  }
}

}  // namespace
}  // namespace retain::test
