#include "parallel/row_layout.h"

#include <gtest/gtest.h>

#include <vector>

namespace retain {
namespace {

// Every rank's rows, chunk by chunk, tile the padded rows in order, and lie one after the other where they are held.
void check_tiling(int64_t rows, int size, int64_t wanted) {
  SCOPED_TRACE(concat(rows, " rows over ", size, " ranks in ", wanted, " chunks"));
  const RowLayout first(rows, 0, size, wanted);
  EXPECT_LE(first.chunks(), wanted);
  EXPECT_EQ(first.own_rows() * size, RowLayout::padded_rows(rows, size));
  EXPECT_EQ(first.padding(), RowLayout::padded_rows(rows, size) - rows);
  EXPECT_LT(first.padding(), size);
  std::vector<int64_t> held(static_cast<size_t>(size), 0);
  int64_t next = 0, real = 0;
  for (int64_t chunk = 0; chunk < first.chunks(); ++chunk) {
    ASSERT_EQ(first.chunk(chunk).begin, next);
    ASSERT_EQ(first.real(chunk).begin, real);
    real = first.real(chunk).end;
    ASSERT_GT(real, next) << "a chunk without a row";
    for (int rank = 0; rank < size; ++rank) {
      const RowLayout layout(rows, rank, size, wanted);
      ASSERT_EQ(layout.own(chunk).begin, next);
      ASSERT_EQ(layout.held(chunk).begin, held[static_cast<size_t>(rank)]);
      ASSERT_EQ(layout.held(chunk).size(), layout.own(chunk).size());
      next = layout.own(chunk).end;
      held[static_cast<size_t>(rank)] = layout.held(chunk).end;
    }
    ASSERT_EQ(first.chunk(chunk).end, next);
  }
  EXPECT_EQ(next, RowLayout::padded_rows(rows, size));
  EXPECT_EQ(real, rows);
  for (const int64_t end : held) EXPECT_EQ(end, first.own_rows());
}

TEST(RowLayout, CutsEveryChunkEvenlyOverTheRanks) {
  for (int64_t rows = 1; rows <= 40; ++rows) {
    for (const int size : {1, 2, 3, 4, 7}) {
      for (int64_t chunks = 1; chunks <= 6; ++chunks) check_tiling(rows, size, chunks);
    }
  }
  check_tiling(32768, 2, 4);
}

TEST(RowLayout, OneRankHasOneChunkOfAllRows) {
  const RowLayout layout(13, 0, 1, 4);
  EXPECT_EQ(layout.chunks(), 1);
  EXPECT_EQ(layout.own(0), (Range{0, 13}));
  EXPECT_EQ(layout.held(0), (Range{0, 13}));
}

}  // namespace
}  // namespace retain
