// Sums gradients over the ranks that hold the same parameters, and brings together what each of them has updated.
// A flat buffer is cut into buckets, and every bucket evenly over the replicas (shard.h). zero = 0: every replica gets
// the whole sum and updates everything. zero = 1: it gets the sum of its share alone and updates that.
#pragma once

#include "parallel/mesh.h"
#include "parallel/shard.h"

namespace retain {

class GradientReducer {
 public:
  /// The mesh outlives this. `buckets`: flat ranges, in order, covering a buffer; the replicas divide each. `partial`:
  /// the flat range whose gradients on a tp rank are those of its heads alone, to be summed over tp. zero: 0 or 1.
  GradientReducer(Mesh& mesh, std::vector<Range> buckets, Range partial, int zero);

  /// This replica's part of every bucket.
  const ReplicaShare& share() const { return share_; }
  /// What this replica updates: its share, or with zero = 0 everything.
  const ReplicaShare& updated() const { return updated_; }

  /// flat_gradients [elements]: afterwards updated() holds the sum; the rest is undefined.
  void reduce(const TensorView& flat_gradients) const;
  /// flat [elements]: every replica's share as that replica has it.
  void gather_shares(const TensorView& flat) const;
  /// The same after updates: nothing to do when every replica updates everything.
  void gather_updated(const TensorView& flat_weights) const;
  /// x holds what this replica updates of it and zeros elsewhere: afterwards all of it.
  void join_updated(const TensorView& x) const;

 private:
  bool updates_share_alone() const { return updated_ == share_; }
  TensorView own_part(const TensorView& flat, Range bucket) const;

  Mesh& mesh_;
  std::vector<Range> buckets_;
  Range partial_;
  ReplicaShare share_, updated_;
};

}  // namespace retain
