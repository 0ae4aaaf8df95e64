// How flat parameter buffers map to whole tensors: pure arithmetic of boxes. No file, no rank, no memory.
// A rank's parameters lie one after the other in a flat buffer ("local flat order"); each is a box of a whole tensor of
// one or two dims, row-major. A vector of n elements counts as n rows of one column.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "parallel/shard.h"

namespace retain {

/// Rows [first_row, first_row + rows) × columns [first_column, first_column + columns) of a whole tensor.
struct Box {
  int64_t first_row = 0, first_column = 0;
  int64_t rows = 0, columns = 1;

  int64_t elements() const { return rows * columns; }
  bool operator==(const Box&) const = default;
};

/// Where one parameter of this rank lies in the flat buffer and which box of the whole tensor it is. Padding rows at
/// the end are not part of the box: they are neither stored nor loaded.
struct TensorPlacement {
  std::string name;
  std::vector<int64_t> global_shape;  ///< of the whole tensor, one or two dims, without padding
  Box box;                            ///< held here; may be empty
  int64_t flat_offset = 0;            ///< of the box's first element
  bool stored = true;                 ///< false: another rank that holds the same box saves it (replicated over tp)
};

/// A part of a placement that lies in a share, contiguous there.
struct ShareBox {
  int64_t placement = 0;  ///< index into the placements
  Box box;                ///< of the whole tensor
  int64_t offset = 0;     ///< of its first element in a buffer that holds the share alone
};

/// Rows and columns of a shape of one or two dims.
Box whole_box(const std::vector<int64_t>& global_shape);

/// The boxes that the share covers, in flat order: of each tensor at most three a range (a part of a row, whole rows, a
/// part of a row). Padding belongs to no box.
std::vector<ShareBox> boxes_of_share(const std::vector<TensorPlacement>& placements, const ReplicaShare& share);

/// The common part of two boxes of one tensor; nothing when there is none.
std::optional<Box> intersect(const Box& a, const Box& b);

/// Empty if the boxes cover the whole tensor and no element twice; else what is wrong.
std::string find_tiling_problem(const std::vector<int64_t>& global_shape, std::vector<Box> boxes);

/// "[0:128, 64:96]"
std::string describe(const Box& box);

}  // namespace retain
