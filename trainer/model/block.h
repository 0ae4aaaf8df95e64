// One pre-norm block on the residual stream (spec.md 1.2):
//   x  = stream + branch          (the branch is what the block before left to be added; none for the first)
//   x' = x + MSR(RMSNorm(x; w1))
//   stream, branch = x', FFN(RMSNorm(x'; w2))
// Adding the branch is part of the next norm, which reads the stream anyway.
#pragma once

#include "trainer/model/feed_forward.h"
#include "trainer/model/retention.h"

namespace retain {

class Block {
 public:
  struct Saved {
    TensorView x, u, x_mid, u_mid;  ///< compute [n,d]: the stream and its norm before MSR and before the FFN
    TensorView rstd, rstd_mid;      ///< accumulate [n]
    RetentionLayer::Saved retention;
    FeedForward::Saved ffn;
  };
  struct Scratch {
    TensorView branch;  ///< compute [n,d]: what MSR and the FFN leave to be added
    TensorView du;      ///< compute [n,d]
    RetentionLayer::Scratch retention;
    FeedForward::Scratch ffn;
  };
  static Saved take_saved(Arena& arena, const Dimensions& dims, Residency residency);
  static Scratch take_scratch(Arena& arena, const Dimensions& dims, Residency residency);

  Block(const ParameterStore& parameters, const ModelConfig& model, int64_t layer, Residency residency);

  /// `stream` [n,d] and `branch` (may be absent) in; saved.x_mid and scratch.branch hold the result. branch may be
  /// scratch.branch itself.
  void forward(const Context& ctx, const TensorView& stream, const TensorView& branch, Saved& saved,
               const Scratch& scratch) const;
  /// dx [n,d]: the gradient of the block's output stream in, of its input stream out.
  void backward(const Context& ctx, const Saved& saved, const Scratch& scratch, const TensorView& dx) const;

 private:
  RetentionLayer retention_;
  FeedForward ffn_;
  TensorView norm_weight_, norm_gradient_, ffn_norm_weight_, ffn_norm_gradient_;
};

}  // namespace retain
