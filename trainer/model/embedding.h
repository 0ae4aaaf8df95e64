// Token embedding with the vocabulary cut over tp, its scale, and the optional norm (spec.md 1.1).
#pragma once

#include "trainer/model/context.h"
#include "trainer/model/parameters.h"

namespace retain {

class Embedding {
 public:
  struct Saved {
    TensorView x;     ///< compute [n,d]: before the norm; absent without one
    TensorView rstd;  ///< accumulate [n]
  };
  static Saved take_saved(Arena& arena, const Dimensions& dims);

  Embedding(const ParameterStore& parameters, const ModelConfig& model, Residency residency);

  /// x [n,d]
  void forward(const Context& ctx, const TensorView& x, const Saved& saved) const;
  /// From dx [n,d], which is changed when there is a norm; gradients are added to.
  void backward(const Context& ctx, const Saved& saved, const TensorView& dx) const;

 private:
  TensorView weight_, gradient_, norm_weight_, norm_gradient_;
};

}  // namespace retain
