// Pure functions of ranks and ranges, swept exhaustively.
#include "parallel/topology.h"

#include <gtest/gtest.h>

#include <set>
#include <tuple>

#include "parallel/shard.h"

namespace retain {
namespace {

TEST(Topology, CoordinatesAndRanksAreInverseForEveryMesh) {
  int cases = 0;
  for (int dp = 1; dp <= 6; ++dp) {
    for (int cp = 1; cp <= 6; ++cp) {
      for (int tp = 1; tp <= 6; ++tp) {
        const MeshShape shape{dp, cp, tp};
        std::set<std::tuple<int, int, int>> seen;
        for (int rank = 0; rank < shape.ranks(); ++rank, ++cases) {
          const MeshCoordinate at = coordinate_of(shape, rank);
          ASSERT_TRUE(at.dp >= 0 && at.dp < dp && at.cp >= 0 && at.cp < cp && at.tp >= 0 && at.tp < tp);
          ASSERT_EQ((at.dp * cp + at.cp) * tp + at.tp, rank);
          ASSERT_TRUE(seen.insert({at.dp, at.cp, at.tp}).second);
        }
      }
    }
  }
  EXPECT_EQ(cases, 21 * 21 * 21);
}

TEST(Topology, TensorParallelNeighboursAreAdjacentRanks) {
  const MeshShape shape{2, 3, 4};
  for (int rank = 0; rank < shape.ranks(); ++rank) {
    const MeshCoordinate at = coordinate_of(shape, rank);
    EXPECT_EQ(at.tp, rank % 4);
    EXPECT_EQ(at.cp, rank / 4 % 3);
    EXPECT_EQ(at.dp, rank / 12);
  }
  EXPECT_EQ(shape.describe(), "dp=2 cp=3 tp=4");
}

TEST(Topology, RanksOutsideTheMeshAreRefused) {
  EXPECT_THROW(coordinate_of({2, 2, 2}, 8), Error);
  EXPECT_THROW(coordinate_of({2, 2, 2}, -1), Error);
}

}  // namespace
}  // namespace retain
