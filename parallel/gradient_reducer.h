// Sums gradients over the ranks that hold the same parameters, and shares the updated weights between them.
// zero = 0: every rank gets the whole sum and updates everything. zero = 1: every rank gets the sum of its slice alone,
// updates that, and gather() shares the weights (ZeRO-1, Rajbhandari et al. 2020): the optimizer state is cut.
#pragma once

#include "parallel/communicator.h"
#include "parallel/shard.h"

namespace retain {

class GradientReducer {
 public:
  /// `replicas` (dp × cp) outlives this; zero is 0 or 1.
  GradientReducer(Communicator& replicas, int zero);

  /// The elements of a flat buffer that this rank updates; the replicas must divide `elements` when zero is 1.
  Range shard(int64_t elements) const;
  /// flat_gradients [elements]: afterwards shard() holds the sum over the replicas; with zero = 1 the rest is
  /// undefined.
  void reduce(const TensorView& flat_gradients) const;
  /// flat_weights [elements]: every rank's shard() as its owner has it. Nothing to do when zero is 0.
  void gather(const TensorView& flat_weights) const;

 private:
  TensorView own_slice(const TensorView& flat) const;

  Communicator& replicas_;
  int zero_;
};

}  // namespace retain
