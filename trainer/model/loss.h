// The language-model head and its cross-entropy over a vocabulary cut over tp (spec.md 4.1). Logits are computed for
// `logits_rows` rows at a time, and their gradient is written in their place, so that they never need much memory.
#pragma once

#include "trainer/model/context.h"
#include "trainer/model/parameters.h"

namespace retain {

class LossHead {
 public:
  struct Scratch {
    TensorView logits;                ///< compute [logits_rows, vocab_rows]
    TensorView statistics, gathered;  ///< accumulate [logits_rows, 3], [P, logits_rows, 3]; tp only
  };
  static Scratch take_scratch(Arena& arena, const Dimensions& dims, int tp_size);

  LossHead(const ParameterStore& parameters, const ModelConfig& model, Residency residency);

  /// loss [n] (accumulate) of each token, 0 where its target is ignored, from the normed stream x [n,d].
  void forward(const Context& ctx, const TensorView& x, const TensorView& loss, const Scratch& scratch) const;
  /// The same, and dx [n,d] = scale × the gradient of the sum of the losses; the head's gradient as ctx.gradients says.
  void forward_backward(const Context& ctx, const TensorView& x, const TensorView& loss, double scale,
                        const Scratch& scratch, const TensorView& dx) const;
  /// Logits of this rank's columns for up to logits_rows rows of x, into scratch.logits' first rows; returned.
  TensorView logits(const Context& ctx, const TensorView& x, const Scratch& scratch) const;

 private:
  void rows(const Context& ctx, const TensorView& x, const TensorView& loss, double scale, const Scratch& scratch,
            const TensorView& dx) const;

  TensorView weight_, gradient_;
};

}  // namespace retain
