// Sums gradients over the ranks that hold the same parameters, and brings together what each of them has updated.
// A flat buffer is cut into buckets, and every bucket evenly over the replicas (shard.h). zero = 0: every replica gets
// the whole sum and updates everything. zero = 1 or 2: it gets the sum of its share alone and updates that.
#pragma once

#include "parallel/mesh.h"
#include "parallel/shard.h"

namespace retain {

class GradientReducer {
 public:
  /// The mesh outlives this. `buckets`: flat ranges, in order, covering a buffer; the replicas divide each. zero: 0, 1
  /// or 2.
  GradientReducer(Mesh& mesh, std::vector<Range> buckets, int zero);

  const std::vector<Range>& buckets() const { return buckets_; }
  /// This replica's part of every bucket.
  const ReplicaShare& share() const { return share_; }
  /// What this replica updates: its share, or with zero = 0 everything.
  const ReplicaShare& updated() const { return updated_; }
  /// Which gradients this replica keeps.
  GradientsKept kept() const { return kept_; }

  /// Begins to sum a bucket over the replicas, beside what is queued from now on. gradients [elements of the bucket];
  /// `own` [this replica's part of them], which may be that part itself. After the wait `own` holds the sum and the
  /// rest is undefined; with zero = 0 all of `gradients` holds it.
  Pending begin_reduce(const TensorView& gradients, const TensorView& own) const;
  /// Begins to bring together a bucket of which every replica has updated its part: after the wait all have all of it.
  /// Nothing to do when every replica updates everything.
  Pending begin_gather(const TensorView& bucket) const;
  /// flat [elements]: every replica's share as that replica has it, whatever is updated.
  void gather_shares(const TensorView& flat) const;

 private:
  bool updates_share_alone() const { return updated_ == share_; }
  TensorView own_part(const TensorView& bucket) const;

  Mesh& mesh_;
  std::vector<Range> buckets_;
  ReplicaShare share_, updated_;
  GradientsKept kept_;
};

}  // namespace retain
