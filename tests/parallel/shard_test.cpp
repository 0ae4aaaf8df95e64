#include "parallel/shard.h"

#include <gtest/gtest.h>

#include <random>

namespace retain {
namespace {

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

TEST(Shard, RangesThatDoNotMeetHaveNothingInCommon) {
  EXPECT_EQ(common({2, 7}, {5, 9}), (Range{5, 7}));
  EXPECT_EQ(common({5, 9}, {2, 7}), (Range{5, 7}));
  EXPECT_EQ(common({2, 4}, {6, 9}).size(), 0);
  EXPECT_EQ(common({6, 9}, {2, 4}).size(), 0);
}

using Places = std::vector<std::pair<int64_t, int64_t>>;  ///< (flat place, place in the share) of each element

Places places_of(const std::vector<SharePiece>& pieces) {
  Places places;
  for (const SharePiece& piece : pieces) {
    for (int64_t i = 0; i < piece.size(); ++i) places.emplace_back(piece.flat.begin + i, piece.offset + i);
  }
  return places;
}

TEST(ReplicaShare, HoldsItsRangesOneAfterTheOther) {
  const ReplicaShare share({{2, 5}, {7, 7}, {8, 9}, {9, 12}, {20, 21}});
  EXPECT_EQ(share.pieces(), (std::vector<SharePiece>{{{2, 5}, 0}, {{8, 12}, 3}, {{20, 21}, 7}}));
  EXPECT_EQ(share.size(), 8);
  EXPECT_EQ(ReplicaShare().size(), 0);
}

TEST(ReplicaShare, RefusesRangesThatOverlapOrFall) {
  EXPECT_THROW(ReplicaShare({{0, 5}, {4, 8}}), Error);
  EXPECT_THROW(ReplicaShare({{6, 8}, {0, 5}}), Error);
  EXPECT_THROW(ReplicaShare({Range{3, 2}}), Error);
}

TEST(ReplicaShare, WithinAFlatRangeIsEveryElementOfBoth) {
  std::mt19937 random(1);
  const auto draw = [&](int64_t high) { return std::uniform_int_distribution<int64_t>(0, high)(random); };
  for (int round = 0; round < 2000; ++round) {
    std::vector<Range> ranges;
    for (int64_t i = draw(4), at = 0; i > 0; --i) {
      const int64_t begin = at + draw(3);
      ranges.push_back({begin, at = begin + draw(6)});
    }
    const ReplicaShare share(ranges);
    const int64_t from = draw(30);
    const Range flat{from, from + draw(15)};
    Places want;
    for (const auto& place : places_of(share.pieces())) {
      if (place.first >= flat.begin && place.first < flat.end) want.push_back(place);
    }
    ASSERT_EQ(places_of(share.within(flat)), want);
  }
}

TEST(ReplicaShare, SharesOfUnevenBucketsTileTheBuffer) {
  for (int replicas = 1; replicas <= 5; ++replicas) {
    const std::vector<Range> buckets = {{0, 3 * replicas}, {3 * replicas, 4 * replicas}, {4 * replicas, 11 * replicas}};
    std::vector<int> holders(static_cast<std::size_t>(buckets.back().end));
    for (int replica = 0; replica < replicas; ++replica) {
      const ReplicaShare share = replica_share(buckets, replica, replicas);
      EXPECT_EQ(share.size(), 11);
      for (const auto& place : places_of(share.pieces())) ++holders[static_cast<std::size_t>(place.first)];
      for (std::size_t i = 0; i < buckets.size(); ++i) {
        EXPECT_EQ(places_of(share.within(buckets[i])).size(), (std::vector<std::size_t>{3, 1, 7})[i]);
      }
    }
    EXPECT_EQ(holders, std::vector<int>(holders.size(), 1));
  }
  EXPECT_THROW(replica_share({{0, 4}, {4, 9}}, 0, 2), Error);
}

TEST(ReplicaShare, WithoutZeroEverythingIsUpdated) {
  const std::vector<Range> buckets = {{0, 6}, {6, 20}};
  EXPECT_EQ(updated_share(buckets, 1, 2, 0), ReplicaShare({Range{0, 20}}));
  EXPECT_EQ(updated_share(buckets, 1, 2, 1), replica_share(buckets, 1, 2));
  EXPECT_EQ(updated_share(buckets, 1, 2, 2), replica_share(buckets, 1, 2));
  EXPECT_THROW(updated_share(buckets, 1, 2, 3), Error);
}

}  // namespace
}  // namespace retain
