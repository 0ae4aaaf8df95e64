// Context parallelism: the ranks of the cp axis hold consecutive segments of the same sequences, joined by the
// retention state, whose size does not depend on the length (LASP-2, Sun et al. 2025): every rank computes what its
// segment leaves from a zero state, one all_gather shares it, and a scan over the segments gives each rank what comes
// in, which is added to what it has. The exchange runs beside what is queued between its begin and its finish.
#pragma once

#include "kernels/backend.h"
#include "parallel/communicator.h"

namespace retain {

/// What joining the segments needs beside the operation's own arguments; memory of the caller.
struct SegmentJoin {
  TensorView carry;            ///< float32 [P,B]: 1 if no document starts inside segment p of the sequence, else 0
  int64_t segment_tokens = 0;  ///< L: tokens of every rank's segment
  TensorView gathered;         ///< accumulate [P,B,H,K,V]: in use until the exchange is finished
  TensorView state;            ///< the result, accumulate [B,H,K,V]
  TensorView boundary{};       ///< likewise: what comes in before the first segment, or from behind the last; or absent
  TensorView result{};         ///< likewise: what leaves the last segment, or the first; or absent
  bool arrived = false;        ///< state is there already, from an exchange before: nothing is exchanged
};

/// States on their way between the ranks.
class [[nodiscard]] SegmentExchange {
 public:
  /// What comes into this rank's segment: join.state; its chunks' states, if they are kept, have got their part of it.
  /// On an axis of one join.boundary, without computing anything. Once.
  TensorView finish();

 private:
  friend class ContextParallel;
  SegmentExchange(Backend& backend, Communicator& axis, const SegmentJoin& join)
      : backend_(backend), axis_(axis), join_(join) {}

  Backend& backend_;
  Communicator& axis_;
  SegmentJoin join_;
  RetentionAddStateArgs add_;  // states: of the chunks
  Pending pending_;
};

class ContextParallel {
 public:
  /// The axis outlives this.
  explicit ContextParallel(Communicator& axis) : axis_(axis) {}
  int rank() const { return axis_.rank(); }
  int size() const { return axis_.size(); }

  /// Computes the states of this rank's segment from a zero state, args.states if they are wanted, and begins to share
  /// the one that it leaves. Finished: the state before the segment. args.state and args.state_in are not given.
  /// Nothing is computed on an axis of one. What has arrived already gives the same bits as when it did.
  SegmentExchange begin_states(Backend& backend, RetentionStateArgs args, const SegmentJoin& join) const;
  /// The same of the gradients of states, args.dstates, from a zero gradient. Finished: the gradient of the state after
  /// the segment. args.dstate is not given.
  SegmentExchange begin_gradients(Backend& backend, RetentionStateGradientArgs args, const SegmentJoin& join) const;

 private:
  TensorView own_slice(const SegmentJoin& join) const;

  Communicator& axis_;
};

}  // namespace retain
