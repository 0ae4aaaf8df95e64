#include "trainer/checkpoint/boxes.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <random>
#include <set>

namespace retain {
namespace {

TEST(BoxesOfShare, CoverEachElementOnceInOrderForRandomLayouts) {
  std::mt19937 random(1);
  const auto draw = [&](int64_t low, int64_t high) {
    return std::uniform_int_distribution<int64_t>(low, high)(random);
  };
  for (int round = 0; round < 2000; ++round) {
    std::vector<TensorPlacement> placements;
    int64_t flat = 0;
    const int64_t count = draw(1, 4);
    for (int64_t i = 0; i < count; ++i) {
      const int64_t rows = draw(0, 5), columns = draw(1, 6);
      const Box box{draw(0, 3), draw(0, 3), rows, columns};
      flat += draw(0, 3);
      placements.push_back({"t", {20, 20}, box, flat});
      flat += (rows + draw(0, 2)) * columns;
    }
    std::vector<Range> ranges;
    for (int64_t i = draw(1, 3), at = 0; i > 0; --i) {
      const int64_t begin = draw(at, flat);
      ranges.push_back({begin, at = draw(begin, flat)});
    }
    const ReplicaShare share(ranges);

    // Truth: walk over every element.
    std::vector<std::array<int64_t, 4>> want, got;  // place in the share, placement, row, column
    for (size_t i = 0; i < placements.size(); ++i) {
      const TensorPlacement& p = placements[i];
      for (int64_t e = 0; e < p.box.elements(); ++e) {
        const int64_t at = p.flat_offset + e;
        for (const SharePiece& piece : share.within({at, at + 1})) {
          want.push_back({piece.offset, static_cast<int64_t>(i), p.box.first_row + e / p.box.columns,
                          p.box.first_column + e % p.box.columns});
        }
      }
    }
    std::vector<int> boxes_of(placements.size());
    for (const ShareBox& b : boxes_of_share(placements, share)) {
      ASSERT_GT(b.box.elements(), 0);
      ++boxes_of[static_cast<size_t>(b.placement)];
      for (int64_t e = 0; e < b.box.elements(); ++e) {
        got.push_back(
            {b.offset + e, b.placement, b.box.first_row + e / b.box.columns, b.box.first_column + e % b.box.columns});
      }
    }
    ASSERT_EQ(got, want);
    for (const int n : boxes_of) ASSERT_LE(n, 3 * static_cast<int>(share.pieces().size()));
  }
}

TEST(Intersect, AgreesWithElementSets) {
  std::mt19937 random(2);
  const auto draw = [&](int64_t high) { return std::uniform_int_distribution<int64_t>(0, high)(random); };
  const auto elements = [](const Box& b) {
    std::set<std::pair<int64_t, int64_t>> set;
    for (int64_t r = 0; r < b.rows; ++r) {
      for (int64_t c = 0; c < b.columns; ++c) set.emplace(b.first_row + r, b.first_column + c);
    }
    return set;
  };
  for (int round = 0; round < 2000; ++round) {
    const Box a{draw(5), draw(5), draw(5), draw(5)}, b{draw(5), draw(5), draw(5), draw(5)};
    std::set<std::pair<int64_t, int64_t>> want;
    const auto ea = elements(a), eb = elements(b);
    std::set_intersection(ea.begin(), ea.end(), eb.begin(), eb.end(), std::inserter(want, want.end()));
    const std::optional<Box> common = intersect(a, b);
    ASSERT_EQ(common ? elements(*common) : decltype(want){}, want) << describe(a) << describe(b);
  }
}

TEST(Tiling, RandomCutsOfAMatrixTileItAndAnyChangeIsSeen) {
  std::mt19937 random(3);
  const auto draw = [&](int64_t low, int64_t high) {
    return std::uniform_int_distribution<int64_t>(low, high)(random);
  };
  for (int round = 0; round < 500; ++round) {
    std::vector<Box> boxes{{0, 0, 12, 9}};
    for (int cut = 0; cut < 8; ++cut) {
      Box& box = boxes[static_cast<size_t>(draw(0, static_cast<int64_t>(boxes.size()) - 1))];
      Box rest = box;
      if (draw(0, 1) == 0 && box.rows > 1) {
        box.rows = draw(1, box.rows - 1);
        rest.first_row += box.rows;
        rest.rows -= box.rows;
      } else if (box.columns > 1) {
        box.columns = draw(1, box.columns - 1);
        rest.first_column += box.columns;
        rest.columns -= box.columns;
      } else {
        continue;
      }
      boxes.push_back(rest);
    }
    ASSERT_EQ(find_tiling_problem({12, 9}, boxes), "");
    std::vector<Box> less(boxes.begin(), boxes.end() - 1), twice = boxes, moved = boxes;
    twice.push_back(boxes[0]);
    moved[0].first_row += 1;
    EXPECT_NE(find_tiling_problem({12, 9}, less), "");
    EXPECT_NE(find_tiling_problem({12, 9}, twice), "");
    EXPECT_NE(find_tiling_problem({12, 9}, moved), "");
  }
}

}  // namespace
}  // namespace retain
