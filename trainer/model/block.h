// One pre-norm block on the residual stream (kernels/README.md#block):
//   x  = stream + branch          (the branch is what the block before left to be added)
//   x' = x + Mixer(RMSNorm(x; w1))
//   stream, branch = x', FFN(RMSNorm(x'; w2))
// Between the mixing of one block and that of the next every row goes its own way: these are stages that chunks of rows
// pass through (parallel/sequence_parallel.h).
#pragma once

#include <vector>

#include "trainer/model/feed_forward.h"
#include "trainer/model/mixer.h"
#include "trainer/model/stream_norm.h"

namespace retain {

class Block {
 public:
  /// The mixer has declared its parameters; `declare` names from "layers.N." on.
  Block(const Declarations& declare, const ModelConfig& model, std::unique_ptr<Mixer> mixer);

  const Mixer& mixer() const { return *mixer_; }

  /// Takes memory of its own, and some that all blocks are given, because they work one after the other; the residual
  /// stays in that from one to the next.
  void take_memory(Arena& own, Arena& shared, const Dimensions& dims, Residency residency);

  // The forward in this order; the pass outlives the stages.
  std::vector<RowStage> before_mixing(const Pass& pass, const Residual& in) const;
  void mix(const Pass& pass) const { mixer_->mix(pass, norm_.u()); }
  std::vector<RowStage> after_mixing(const Pass& pass) const;
  /// What the stages leave.
  Residual out() const { return {.stream = ffn_norm_.x(), .branch = scratch_.branch}; }

  /// Fills what the backward needs of the forward and was not kept, or was overwritten by another block since.
  void repeat(Pass pass) const;
  /// dx [padded_rows,d], gathered: the gradient of the block's output in, of its input out.
  void backward(const Pass& pass, const TensorView& dx) const;

 private:
  void take_activations(const ActivationMemory& memory, const Dimensions& dims);
  void take_scratch(Arena& arena, const Dimensions& dims, Residency residency);
  void repeat_elementwise(const Pass& pass) const;
  void repeat_forward(const Pass& pass) const;
  RowStage enter(const Pass& pass) const;
  std::vector<RowStage> leave(const Pass& pass) const;

  struct Scratch {
    TensorView branch;  ///< compute [padded_rows,d]: what the mixer and the FFN leave to be added
    TensorView du;      ///< compute [padded_rows,d]
  };

  std::unique_ptr<Mixer> mixer_;
  StreamNorm norm_, ffn_norm_;
  FeedForward ffn_;
  Scratch scratch_;
};

}  // namespace retain
