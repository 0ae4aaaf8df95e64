// The language-model head and its cross-entropy over a vocabulary cut over tp (kernels/README.md#cross-entropy). Logits
// are computed for `logits_rows` rows at a time, and their gradient is written in their place, so that they never need
// much memory.
#pragma once

#include "trainer/model/declarations.h"
#include "trainer/model/pass.h"

namespace retain {

class LossHead {
 public:
  LossHead(const Declarations& declare, const ModelConfig& model);

  void take_scratch(Arena& arena, const Dimensions& dims);

  /// loss [n] (accumulate) of each token, 0 where its target is ignored, from the normed stream x [n,d].
  void forward(const Pass& pass, const TensorView& x, const TensorView& loss) const;
  /// The same, and dx [padded_rows,d] = scale × the gradient of the sum of the losses, which begins to be reduced; the
  /// head's gradient as pass.gradients says.
  RowExchange forward_backward(const Pass& pass, const TensorView& x, const TensorView& loss, const TensorView& scale,
                               const TensorView& dx) const;
  /// Logits of this rank's columns for up to logits_rows rows of x, which the next call overwrites.
  TensorView logits(const Pass& pass, const TensorView& x) const;

 private:
  struct Scratch {
    TensorView logits;                ///< compute [logits_rows, vocab_rows]
    TensorView statistics, gathered;  ///< accumulate [logits_rows, 3], [P, logits_rows, 3]; tp only
  };
  RowExchange rows(const Pass& pass, const TensorView& x, const TensorView& loss, const TensorView& scale,
                   const TensorView& dx) const;

  Parameter matrix_;
  Scratch scratch_;
};

}  // namespace retain
