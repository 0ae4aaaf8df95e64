// Where backward writes gradients, and where their sum over the replicas is kept until the update.
#pragma once

#include <vector>

#include "kernels/backend.h"
#include "kernels/core/memory.h"
#include "trainer/model/parameter_layout.h"

namespace retain {

/// Slots of buckets that backward completes one after the other.
inline constexpr size_t kGradientSlots = 2;

/// All gradients are kept in one flat buffer, where sums over the replicas take the place of a replica's own gradients.
/// Or only those that this replica updates are kept, and backward writes one bucket after the other into slots that it
/// uses in turn; buckets that are written in many places (see ParameterLayout::passing_buckets) have their own.
class GradientMemory {
 public:
  /// By the code that takes them.
  static int64_t bytes(const ParameterLayout& layout, DType accumulate, const ReplicaShare& updated,
                       GradientsKept kept);

  GradientMemory() = default;  ///< none, for inference
  /// Zeros. `updated` is what this replica updates.
  GradientMemory(Backend& backend, const ParameterLayout& layout, DType accumulate, const ReplicaShare& updated,
                 GradientsKept kept);

  /// What backward writes of a bucket, [its elements].
  const TensorView& bucket(size_t i) const { return views_.buckets[i]; }
  /// What backward writes of a flat range; where not all is kept, one inside a bucket.
  TensorView part(Range flat) const;
  /// What is kept of a piece of what this replica updates.
  TensorView piece(const SharePiece& piece) const {
    return kept_ == GradientsKept::kAll ? piece.of_flat(views_.kept) : piece.of_share(views_.kept);
  }
  /// [flat elements]; only where all are kept.
  const TensorView& flat() const;

 private:
  struct Views {
    TensorView kept;  ///< [flat elements], or [elements updated here]
    std::vector<TensorView> buckets;
  };
  static Views take(Arena& arena, const ParameterLayout& layout, DType accumulate, const ReplicaShare& updated,
                    GradientsKept kept);

  GradientsKept kept_ = GradientsKept::kAll;
  std::vector<Range> ranges_;  ///< of the buckets
  Buffer buffer_;
  Views views_;
};

}  // namespace retain
