#include "parallel/shard.h"

namespace retain {

ReplicaShare::ReplicaShare(const std::vector<Range>& ranges) {
  for (const Range& range : ranges) {
    const int64_t end = pieces_.empty() ? 0 : pieces_.back().flat.end;
    RETAIN_CHECK(end <= range.begin && range.begin <= range.end, "range [", range.begin, ", ", range.end,
                 ") of a share after one that ends at ", end);
    if (range.size() == 0) continue;
    if (!pieces_.empty() && end == range.begin) {
      pieces_.back().flat.end = range.end;
    } else {
      pieces_.push_back({.flat = range, .offset = size_});
    }
    size_ += range.size();
  }
}

std::vector<SharePiece> ReplicaShare::within(Range flat) const {
  std::vector<SharePiece> found;
  for (const SharePiece& piece : pieces_) {
    const Range both = common(piece.flat, flat);
    if (both.size() > 0) found.push_back({.flat = both, .offset = piece.offset + both.begin - piece.flat.begin});
  }
  return found;
}

ReplicaShare replica_share(const std::vector<Range>& buckets, int replica, int replicas) {
  std::vector<Range> parts;
  for (const Range& bucket : buckets) parts.push_back(even_part(bucket, replica, replicas));
  return ReplicaShare(parts);
}

ReplicaShare updated_share(const std::vector<Range>& buckets, int replica, int replicas, int zero) {
  RETAIN_CHECK(zero >= 0 && zero <= 2, "zero = ", zero);
  return zero == 0 ? ReplicaShare(buckets) : replica_share(buckets, replica, replicas);
}

}  // namespace retain
