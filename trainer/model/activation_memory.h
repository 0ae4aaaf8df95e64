// Where the activations of a block lie. What its backward reads of its forward is kept in memory of the block's own, or
// is computed again before its backward, in memory that all blocks use in turn: which of both `train.recompute` says.
// At inference nothing is kept.
#pragma once

#include "kernels/core/memory.h"
#include "trainer/model/dimensions.h"
#include "trainer/model/parameters.h"

namespace retain {

/// Two arenas that a block takes its activations from, by what it would cost to compute them again.
class ActivationMemory {
 public:
  /// `own` of the block, `shared` with all others.
  ActivationMemory(Arena& own, Arena& shared, const Dimensions& dims, Residency residency)
      : own_(own),
        shared_(shared),
        residency_(residency),
        kept_(residency == Residency::kTraining ? kept(dims.recompute) : Kept::kNothing) {}

  Residency residency() const { return residency_; }

  /// What the forward cannot be repeated without: the stream that enters.
  Arena& inputs() const { return kept_ >= Kept::kInputs ? own_ : shared_; }
  /// Of matrix products and retention.
  Arena& products() const { return kept_ >= Kept::kProducts ? own_ : shared_; }
  /// Of norms, gates and activation functions, and states of chunks: bound by memory.
  Arena& elementwise() const { return kept_ >= Kept::kAll ? own_ : shared_; }

 private:
  enum class Kept : uint8_t { kNothing, kInputs, kProducts, kAll };
  static Kept kept(Recompute level) {
    switch (level) {
      case Recompute::kSelective: return Kept::kProducts;
      case Recompute::kFull: return Kept::kInputs;
      default: return Kept::kAll;
    }
  }

  Arena& own_;
  Arena& shared_;
  Residency residency_;
  Kept kept_;
};

}  // namespace retain
