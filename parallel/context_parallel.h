// Context parallelism: the ranks of the cp axis hold consecutive segments of the same sequences, joined by the
// retention state, whose size does not depend on the length (LASP-2, Sun et al. 2025): every rank computes what its
// segment leaves from a zero state, one all_gather shares it, and a scan over the segments gives each rank what comes
// in.
#pragma once

#include "kernels/backend.h"
#include "parallel/communicator.h"

namespace retain {

/// What the scan over the segments needs beside the operation's own arguments; memory of the caller.
struct SegmentJoin {
  TensorView carry;            ///< float32 [P,B]: 1 if no document starts inside segment p of the sequence, else 0
  int64_t segment_tokens = 0;  ///< L: tokens of every rank's segment
  TensorView gathered;         ///< scratch, accumulate [P,B,H,K,V]
  TensorView state;            ///< the result, accumulate [B,H,K,V]
  TensorView boundary;         ///< likewise: what comes in before the first segment, or from behind the last; or absent
  TensorView result;           ///< likewise: what leaves the last segment, or the first; or absent
};

class ContextParallel {
 public:
  /// The axis outlives this.
  explicit ContextParallel(Communicator& axis) : axis_(axis) {}
  int rank() const { return axis_.rank(); }
  int size() const { return axis_.size(); }

  /// The state before this rank's segment: join.state, or an empty view, without computing anything, on an axis of one.
  /// args.state is ignored.
  TensorView incoming_state(Backend& backend, RetentionStateArgs args, const SegmentJoin& join) const;
  /// The gradient of the state after this rank's segment; likewise. args.dstate is ignored.
  TensorView outgoing_gradient(Backend& backend, RetentionStateGradientArgs args, const SegmentJoin& join) const;

 private:
  TensorView own_slice(const SegmentJoin& join) const;
  TensorView scan(Backend& backend, const RetentionContext& context, const SegmentJoin& join, bool reverse) const;

  Communicator& axis_;
};

}  // namespace retain
