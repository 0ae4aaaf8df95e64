// The FFN: (act(u W_gateᵀ) ⊙ u W_upᵀ) W_downᵀ, or gelu(u W_upᵀ) W_downᵀ (spec.md 1.8).
// Tensor parallel: rows of W_gate, W_up and columns of W_down are cut; the output is summed over tp.
#pragma once

#include "trainer/model/context.h"
#include "trainer/model/parameters.h"

namespace retain {

class FeedForward {
 public:
  struct Saved {
    TensorView ab;  ///< compute [n, 2F] = (a, b), or [n, F] = a without a gate
    TensorView h;   ///< compute [n, F]: input of W_down
  };
  struct Scratch {
    TensorView dab, dh;  ///< compute, like ab and h
  };
  static Saved take_saved(Arena& arena, const Dimensions& dims);
  static Scratch take_scratch(Arena& arena, const Dimensions& dims, Residency residency);

  FeedForward(const ParameterStore& parameters, const ModelConfig& model, int64_t layer, Residency residency);

  /// f [n,d] = FFN(u [n,d]).
  void forward(const Context& ctx, const TensorView& u, const TensorView& f, const Saved& saved) const;
  /// du [n,d] from df [n,d]; parameter gradients as ctx.gradients says.
  void backward(const Context& ctx, const TensorView& df, const TensorView& u, const Saved& saved,
                const Scratch& scratch, const TensorView& du) const;

 private:
  TensorView in_weight_, in_gradient_, down_weight_, down_gradient_;
};

}  // namespace retain
