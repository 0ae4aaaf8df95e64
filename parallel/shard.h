// The only place that cuts a range over ranks. Pure arithmetic.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "kernels/core/memory.h"
#include "kernels/core/tensor.h"

namespace retain {

/// A half-open range [begin, end).
struct Range {
  int64_t begin = 0, end = 0;
  int64_t size() const { return end - begin; }
  bool operator==(const Range&) const = default;
};

/// What two ranges have in common; empty where they do not meet.
inline Range common(Range a, Range b) {
  const int64_t begin = std::max(a.begin, b.begin);
  return {begin, std::max(begin, std::min(a.end, b.end))};
}

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

/// Part `replica` of `replicas` equal parts of a range.
inline Range even_part(Range range, int replica, int replicas) {
  const Range part = even_shard(range.size(), replica, replicas);
  return {range.begin + part.begin, range.begin + part.end};
}

/// A piece of a share: where it lies in the flat order, and where among the share's own elements.
struct SharePiece {
  Range flat;
  int64_t offset = 0;  ///< of its first element in a buffer that holds the share alone

  int64_t size() const { return flat.size(); }
  /// The piece in a buffer of everything.
  TensorView of_flat(const TensorView& buffer) const { return buffer.slice(0, flat.begin, size()); }
  /// The piece in a buffer that holds the share alone.
  TensorView of_share(const TensorView& buffer) const { return buffer.slice(0, offset, size()); }
  bool operator==(const SharePiece&) const = default;
};

/// What one of the replicas (ranks that hold the same parameters) answers for in the flat order of these: ranges in
/// rising order that do not touch. A buffer that holds a share alone holds its ranges one after the other.
class ReplicaShare {
 public:
  ReplicaShare() = default;  ///< nothing
  /// In rising order, disjoint; empty ranges are dropped, ranges that touch are joined.
  explicit ReplicaShare(const std::vector<Range>& ranges);

  int64_t size() const { return size_; }
  const std::vector<SharePiece>& pieces() const { return pieces_; }
  /// What of the share lies in a flat range.
  std::vector<SharePiece> within(Range flat) const;
  bool operator==(const ReplicaShare&) const = default;

 private:
  std::vector<SharePiece> pieces_;
  int64_t size_ = 0;
};

/// The share of one replica: an even part of every bucket. The buckets are flat ranges in rising order, of sizes that
/// the replicas divide.
ReplicaShare replica_share(const std::vector<Range>& buckets, int replica, int replicas);

/// What that replica updates, and keeps master weights and moments of: with zero = 0 everything, with zero = 1 or 2 its
/// share alone (ZeRO, Rajbhandari et al. 2020). Throws for other levels.
ReplicaShare updated_share(const std::vector<Range>& buckets, int replica, int replicas, int zero);

/// Which gradients a replica keeps from one micro-batch to the next: those of its share alone with zero = 2, where
/// there are others to keep the rest.
enum class GradientsKept : uint8_t { kAll, kUpdated };
inline GradientsKept gradients_kept(int replicas, int zero) {
  return zero == 2 && replicas > 1 ? GradientsKept::kUpdated : GradientsKept::kAll;
}

}  // namespace retain
