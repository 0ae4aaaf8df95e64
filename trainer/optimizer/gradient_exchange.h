// Gradients on their way from backward to the update. Backward says how far it has come, and each bucket that it has
// completed is summed over the replicas while it goes on:
//   for each micro-batch, or each segment of one:
//     write = exchange.begin_backward(first, last);
//     model.loss_and_backward(…, write, …, [&](int64_t flat_end) { exchange.completed(flat_end); });
//   exchange.sit_out(backwards that the busiest replica has more);
//   exchange.finish(…);
// Where all gradients are kept, only the last micro-batch's are exchanged: each replica's own last one. Where a replica
// keeps those that it updates alone (ZeRO-2), every micro-batch's are, and a replica that has none left brings zeros:
// backward adds to a bucket that begins as zeros and, in this replica's part, as what was summed before.
// Gradients are kept and added in the accumulate type. They may be exchanged as bfloat16: a bucket is rounded once into
// a copy that travels, and what comes back is taken over, or added to what was summed before.
#pragma once

#include <functional>
#include <vector>

#include "kernels/core/memory.h"
#include "parallel/mesh.h"
#include "trainer/config.h"
#include "trainer/model/linear.h"
#include "trainer/model/parameters.h"

namespace retain {

/// Of an update: the largest norm of the gradient that is not clipped, and beyond what it is not applied.
struct UpdateBounds {
  double max_norm = 0;  ///< 0: none
  TensorView limits{};  ///< float64 [2], or absent: of the norm, and of the sum of losses over the whole mesh
};

class GradientExchange {
 public:
  /// Sees a bucket of which this replica's own gradients are complete, before anything of them is exchanged.
  using Look = std::function<void(size_t bucket)>;

  /// All outlive this; the parameters keep the gradients that the reducer says.
  GradientExchange(Backend& backend, Mesh& mesh, const GradientReducer& reducer, const ParameterStore& parameters,
                   GradientType type = GradientType::kFp32);

  /// Of rounded copies under way, by the code that takes them.
  static int64_t memory_bytes(const ParameterLayout& layout, int replicas, GradientType type);

  /// Before the backward of a micro-batch of a step, the first, the last, both or neither: how it is to write.
  GradientWrite begin_backward(bool first, bool last, Look look = {});
  /// The same of a backward, the first or a following one, whose gradients are looked at and are nobody's: between two
  /// steps. They lie where the next step's will.
  GradientWrite begin_rehearsal(bool first, Look look);
  /// Everything before this place of the flat order has been queued to the last term. Collective over the replicas, as
  /// soon as a bucket is complete.
  void completed(int64_t flat_end);

  /// After the last backward: takes part in what replicas exchange that have so many more of them.
  void sit_out(int64_t backwards);

  /// After that, over the whole mesh. sums float64 [3]: first, this rank's sum of losses, which becomes
  /// that over the replicas; second, set to the sum of squares of the whole gradient, each element counted once; third,
  /// set to the sum of the first over tp: like the second the same bits on every rank, so that all decide alike. norm,
  /// scale float64 [1]: of these, see ClipScaleArgs. Afterwards parameters.gradient(piece) of what this replica updates
  /// is summed over all.
  void finish(const UpdateBounds& bounds, const TensorView& sums, const TensorView& norm, const TensorView& scale);
  /// Waits for what is under way: in place of finish() where its work is queued otherwise.
  void await_all() { await_until(under_way_.size()); }

 private:
  bool keeps_all() const { return reducer_.kept() == GradientsKept::kAll; }
  /// Begins with the first bucket.
  GradientWrite begin_buckets(bool replaces, Look look);
  /// Makes the memory of a bucket ready for backward to add to.
  void prepare(size_t bucket);
  void begin_reduce(size_t bucket);
  /// Everything of the buckets before this one has arrived, in order.
  void await_until(size_t bucket);
  bool rounds() const { return !rounded_.empty(); }
  /// Keeps this replica's part of a sum that came back rounded.
  void take_over(size_t bucket);
  static std::vector<TensorView> take_rounded(Arena& arena, const ParameterLayout& layout);
  /// Of a bucket that was reduced: completes the gradients of norms, and adds the squares of this rank's part.
  void sum_partial(Range bucket);
  void add_squares(Range bucket, const TensorView& sum);

  Backend& backend_;
  Mesh& mesh_;
  const GradientReducer& reducer_;
  const ParameterStore& parameters_;
  Buffer buffer_;
  std::vector<TensorView> rounded_;  ///< one a bucket, in slots that are used in turn; none where nothing is rounded
  std::vector<Pending> under_way_;   ///< one a bucket
  size_t arrived_ = 0;               ///< buckets of this exchange, or all of them where none is under way
  size_t next_ = 0;                  ///< the bucket that backward completes next
  bool first_ = true;                ///< of the step: nothing was summed before
  bool reduces_ = false;             ///< this micro-batch's buckets
  Look look_;                        ///< at them
};

}  // namespace retain
