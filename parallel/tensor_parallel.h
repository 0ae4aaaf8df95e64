// Tensor parallelism: the ranks of the tp axis hold other heads, FFN columns and vocabulary rows of the same tokens.
// What one rank's columns contribute is summed over the axis (Shoeybi et al. 2019, Megatron-LM). The axis outlives
// this.
#pragma once

#include "parallel/communicator.h"

namespace retain {

class TensorParallel {
 public:
  explicit TensorParallel(Communicator& axis) : axis_(axis) {}
  int rank() const { return axis_.rank(); }
  int size() const { return axis_.size(); }

  /// out [size, …] = every rank's in, in rank order; in may be out's own slice (and is, on an axis of one). Ordered
  /// like an operation of the backend.
  void gather(const TensorView& out, const TensorView& in) const { axis_.all_gather(out, in).wait(); }
  /// x = the sum of every rank's x; ordered likewise.
  void sum(const TensorView& x) const { axis_.all_reduce(x, ReduceOp::kSum).wait(); }
  /// A gather beside what is queued until the wait.
  Pending begin_gather(const TensorView& out, const TensorView& in) const { return axis_.all_gather(out, in); }
  /// Likewise: out = this rank's slice of the sum of in [size, …] over the axis; out may be in's own slice.
  Pending begin_reduce_scatter(const TensorView& out, const TensorView& in) const {
    return axis_.reduce_scatter(out, in);
  }

 private:
  Communicator& axis_;
};

}  // namespace retain
