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
          ASSERT_EQ(world_rank_of(shape, at), rank);
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

TEST(Shard, EvenPartsTileTheRange) {
  for (int size = 1; size <= 40; ++size) {
    for (int64_t part = 0; part <= 60; ++part) {
      int64_t next = 0;
      for (int rank = 0; rank < size; ++rank) {
        const Range range = even_shard(part * size, rank, size);
        ASSERT_EQ(range.begin, next);
        ASSERT_EQ(range.size(), part);
        next = range.end;
      }
      ASSERT_EQ(next, part * size);
    }
  }
  EXPECT_THROW(even_shard(10, 0, 3), Error);
}

TEST(Shard, EvenPartsDoNotOverflowOnHugeBuffers) {
  const int64_t extent = int64_t{512} << 40;
  EXPECT_EQ(even_shard(extent, 511, 512).begin, int64_t{511} << 40);
  EXPECT_EQ(even_shard(extent, 511, 512).end, extent);
}

TEST(Shard, PaddedPartsCoverEveryRowOnce) {
  for (int64_t extent = 1; extent <= 130; ++extent) {
    for (int size = 1; size <= 9; ++size) {
      for (const int64_t multiple : {1, 8, 64}) {
        const int64_t rows = padded_shard_size(extent, size, multiple);
        ASSERT_EQ(rows % multiple, 0);
        ASSERT_GE(rows * size, extent);
        ASSERT_LT((rows - multiple) * size, extent) << "a smaller multiple would do";
        int64_t next = 0;
        for (int rank = 0; rank < size; ++rank) {
          const Range range = padded_shard(extent, rank, size, multiple);
          ASSERT_EQ(range.begin, next);
          ASSERT_LE(range.size(), rows);
          next = range.end;
        }
        ASSERT_EQ(next, extent);
      }
    }
  }
}

}  // namespace
}  // namespace retain
