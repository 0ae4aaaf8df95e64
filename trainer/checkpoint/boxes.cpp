#include "trainer/checkpoint/boxes.h"

#include <algorithm>

namespace retain {

Box whole_box(const std::vector<int64_t>& global_shape) {
  RETAIN_CHECK(global_shape.size() == 1 || global_shape.size() == 2, "a tensor of ", global_shape.size(), " dims");
  return {0, 0, global_shape[0], global_shape.size() == 2 ? global_shape[1] : 1};
}

std::vector<ShareBox> boxes_of_share(const std::vector<TensorPlacement>& placements, const ReplicaShare& share) {
  std::vector<ShareBox> boxes;
  for (size_t i = 0; i < placements.size(); ++i) {
    const TensorPlacement& p = placements[i];
    const int64_t width = p.box.columns;
    for (const SharePiece& piece : share.within({p.flat_offset, p.flat_offset + p.box.elements()})) {
      int64_t at = piece.flat.begin - p.flat_offset;  // element of the placement's box
      for (const int64_t begin = at, end = at + piece.size(); at < end;) {
        const int64_t row = at / width, column = at % width;
        Box box{p.box.first_row + row, p.box.first_column + column, 1, std::min(width - column, end - at)};
        if (column == 0 && end - at >= width) box.rows = (end - at) / width;
        boxes.push_back({static_cast<int64_t>(i), box, piece.offset + at - begin});
        at += box.elements();
      }
    }
  }
  std::sort(boxes.begin(), boxes.end(), [](const ShareBox& a, const ShareBox& b) { return a.offset < b.offset; });
  return boxes;
}

std::optional<Box> intersect(const Box& a, const Box& b) {
  const int64_t row = std::max(a.first_row, b.first_row);
  const int64_t column = std::max(a.first_column, b.first_column);
  const int64_t rows = std::min(a.first_row + a.rows, b.first_row + b.rows) - row;
  const int64_t columns = std::min(a.first_column + a.columns, b.first_column + b.columns) - column;
  if (rows <= 0 || columns <= 0) return std::nullopt;
  return Box{row, column, rows, columns};
}

std::string find_tiling_problem(const std::vector<int64_t>& global_shape, std::vector<Box> boxes) {
  const Box whole = whole_box(global_shape);
  int64_t covered = 0;
  for (const Box& box : boxes) {
    if (intersect(whole, box) != box) return concat("box ", describe(box), " reaches out of ", describe(whole));
    covered += box.elements();
  }
  // Sweep over rows: a box can only overlap those that have begun and not ended.
  std::sort(boxes.begin(), boxes.end(), [](const Box& a, const Box& b) { return a.first_row < b.first_row; });
  std::vector<Box> active;
  for (const Box& box : boxes) {
    std::erase_if(active, [&](const Box& a) { return a.first_row + a.rows <= box.first_row; });
    for (const Box& other : active) {
      if (intersect(box, other)) return concat("boxes ", describe(other), " and ", describe(box), " overlap");
    }
    active.push_back(box);
  }
  if (covered != whole.elements())
    return concat(whole.elements() - covered, " of ", whole.elements(), " elements missing");
  return {};
}

std::string describe(const Box& box) {
  return concat("[", box.first_row, ":", box.first_row + box.rows, ", ", box.first_column, ":",
                box.first_column + box.columns, "]");
}

}  // namespace retain
