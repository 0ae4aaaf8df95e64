// One pre-norm block on the residual stream (kernels/README.md#block):
//   x  = stream + branch          (the branch is what the block before left to be added; none for the first)
//   x' = x + Mixer(RMSNorm(x; w1))
//   stream, branch = x', FFN(RMSNorm(x'; w2))
// Adding the branch is part of the next norm, which reads the stream anyway.
#pragma once

#include "trainer/model/feed_forward.h"
#include "trainer/model/mixer.h"

namespace retain {

/// The residual stream between two blocks, [n,d]: the sum of both.
struct Residual {
  TensorView stream;
  TensorView branch;  ///< may be absent
};

class Block {
 public:
  /// The mixer has declared its parameters; `declare` names from "layers.N." on.
  Block(const Declarations& declare, const ModelConfig& model, std::unique_ptr<Mixer> mixer);

  const Mixer& mixer() const { return *mixer_; }

  /// Takes memory of its own, and some that all blocks are given, because they work one after the other; the residual
  /// stays in that from one to the next.
  void take_memory(Arena& own, Arena& shared, const Dimensions& dims, Residency residency);

  Residual forward(const Pass& pass, const Residual& in) const;
  /// dx [n,d]: the gradient of the block's output in, of its input out.
  void backward(const Pass& pass, const TensorView& dx) const;

 private:
  void take_activations(const ActivationMemory& memory, const Dimensions& dims);
  void take_scratch(Arena& arena, const Dimensions& dims, Residency residency);
  /// Fills what the backward needs of the forward and was not kept.
  void repeat(Pass pass) const;
  /// x = the sum of the residual where it has a branch, u = the norm; and the same before the FFN.
  void norm(const Pass& pass, const Residual& in) const;
  void ffn_norm(const Pass& pass, const Residual& in) const;

  struct Saved {
    TensorView x, u, x_mid, u_mid;  ///< compute [n,d]: the stream and its norm before the mixer and before the FFN
    TensorView rstd, rstd_mid;      ///< accumulate [n]
  };
  struct Scratch {
    TensorView branch;  ///< compute [n,d]: what the mixer and the FFN leave to be added
    TensorView du;      ///< compute [n,d]
  };

  std::unique_ptr<Mixer> mixer_;
  Parameter norm_, ffn_norm_;
  FeedForward ffn_;
  Saved saved_;
  Scratch scratch_;
};

}  // namespace retain
