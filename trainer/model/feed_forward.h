// The FFN: (act(u W_gateᵀ) ⊙ u W_upᵀ) W_downᵀ, or gelu(u W_upᵀ) W_downᵀ (kernels/README.md#ffn).
// Tensor parallel: rows of W_gate, W_up and columns of W_down are cut; the output is summed over tp.
#pragma once

#include "trainer/model/activation_memory.h"
#include "trainer/model/declarations.h"
#include "trainer/model/pass.h"

namespace retain {

class FeedForward {
 public:
  FeedForward(const Declarations& declare, const ModelConfig& model);

  void take_activations(const ActivationMemory& memory, const Dimensions& dims);
  void take_scratch(Arena& arena, const Dimensions& dims, Residency residency);

  /// f [n,d] = FFN(u [n,d]).
  void forward(const Pass& pass, const TensorView& u, const TensorView& f) const;
  /// The forward as far as the backward needs it.
  void hidden(const Pass& pass, const TensorView& u) const;
  /// The elementwise part of that, from its products.
  void repeat_elementwise(const Pass& pass) const;
  /// du [n,d] from df [n,d]; parameter gradients as pass.gradients says.
  void backward(const Pass& pass, const TensorView& df, const TensorView& u, const TensorView& du) const;

 private:
  struct Activations {
    TensorView ab;  ///< compute [n, 2F] = (a, b), or [n, F] = a without a gate
    TensorView h;   ///< compute [n, F]: input of W_down
  };

  Parameter in_, down_;
  Activations saved_, gradients_;
};

}  // namespace retain
