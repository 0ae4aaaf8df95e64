// Gradients on their way from backward to the update. Backward says how far it has come, and each bucket that it has
// completed is summed over the replicas while it goes on:
//   for each micro-batch:
//     write = exchange.begin_backward(first, last);
//     model.loss_and_backward(…, write, …, [&](int64_t flat_end) { exchange.completed(flat_end); });
//   exchange.finish(…);
// Where all gradients are kept, only the last micro-batch's are exchanged. Where a replica keeps those that it updates
// alone (ZeRO-2), every micro-batch's are: backward adds to a bucket that begins as zeros and, in this replica's part,
// as what was summed before.
#pragma once

#include "parallel/mesh.h"
#include "trainer/model/linear.h"
#include "trainer/model/parameters.h"

namespace retain {

class GradientExchange {
 public:
  /// All outlive this; the parameters keep the gradients that the reducer says.
  GradientExchange(Backend& backend, Mesh& mesh, const GradientReducer& reducer, const ParameterStore& parameters);

  /// Before the backward of a micro-batch of a step, the first, the last, both or neither: how it is to write.
  GradientWrite begin_backward(bool first, bool last);
  /// Everything before this place of the flat order has been queued to the last term. Collective over the replicas, as
  /// soon as a bucket is complete.
  void completed(int64_t flat_end);

  /// After the last backward, over the whole mesh. sums float64 [2]: first, this rank's sum of losses, which becomes
  /// that over the replicas; second, set to the sum of squares of the whole gradient, each element counted once. norm,
  /// scale float64 [1]: of it, see ClipScaleArgs. Afterwards parameters.gradient(piece) of what this replica updates is
  /// summed over all.
  void finish(double max_norm, const TensorView& sums, const TensorView& norm, const TensorView& scale);

 private:
  bool keeps_all() const { return reducer_.kept() == GradientsKept::kAll; }
  /// Makes the memory of a bucket ready for backward to add to.
  void prepare(size_t bucket);
  void begin_reduce(size_t bucket);
  void await(size_t bucket) { under_way_[bucket].wait(); }
  /// Of a bucket that was reduced: completes the gradients of head norms, and adds the squares of this rank's part.
  void sum_partial(Range bucket);
  void add_squares(Range bucket, const TensorView& sum);

  Backend& backend_;
  Mesh& mesh_;
  const GradientReducer& reducer_;
  const ParameterStore& parameters_;
  std::vector<Pending> under_way_;  ///< one a bucket
  size_t next_ = 0;                 ///< the bucket that backward completes next
  bool first_ = true;               ///< of the step: nothing was summed before
  bool reduces_ = false;            ///< this micro-batch's buckets
};

}  // namespace retain
