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

  /// Of a chunk of rows f [padded_rows,d] = this rank's terms of FFN(u [padded_rows,d]).
  void forward(const Pass& pass, const TensorView& u, const TensorView& f, int64_t chunk) const;
  /// The forward as far as the backward needs it.
  void hidden(const Pass& pass, const TensorView& u, int64_t chunk) const;
  /// The elementwise part of that, of all rows, from its products.
  void repeat_elementwise(const Pass& pass) const { activate(pass, saved_.ab, saved_.h); }
  /// du [n,d], this rank's terms, from df [n,d].
  void backward(const Pass& pass, const TensorView& df, const TensorView& du) const;
  /// Then the gradients of W_down, and of W_gate and W_up from the forward's u [n,d]; as pass.gradients says.
  void down_gradient(const Pass& pass, const TensorView& df) const;
  void in_gradient(const Pass& pass, const TensorView& u) const;

 private:
  static void activate(const Pass& pass, const TensorView& ab, const TensorView& h);

  struct Activations {
    TensorView ab;  ///< compute [n, 2F] = (a, b), or [n, F] = a without a gate
    TensorView h;   ///< compute [n, F]: input of W_down
  };

  Parameter in_, down_;
  Activations saved_, gradients_;
};

}  // namespace retain
