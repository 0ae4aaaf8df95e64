// The only place that cuts a range over ranks.
#pragma once

#include <algorithm>
#include <cstdint>

#include "kernels/core/memory.h"

namespace retain {

/// A half-open range [begin, end).
struct Range {
  int64_t begin = 0, end = 0;
  int64_t size() const { return end - begin; }
};

/// Part `rank` of `size` equal parts; the caller has validated that size divides extent.
inline Range even_shard(int64_t extent, int rank, int size) {
  RETAIN_CHECK(extent % size == 0, extent, " does not divide over ", size, " ranks");
  return {extent / size * rank, extent / size * (rank + 1)};
}

/// Rows of one rank's part of a dimension that need not divide: every rank holds the same number of rows, a multiple of
/// `multiple`; the last ranks' parts reach past the extent (padding).
inline int64_t padded_shard_size(int64_t extent, int size, int64_t multiple) {
  return align_up((extent + size - 1) / size, multiple);
}

/// The real rows among those of padded part `rank`.
inline Range padded_shard(int64_t extent, int rank, int size, int64_t multiple) {
  const int64_t rows = padded_shard_size(extent, size, multiple);
  return {std::min(extent, rows * rank), std::min(extent, rows * (rank + 1))};
}

}  // namespace retain
