// y = x Wᵀ with W [out, in], and its backward: the three products of every projection.
#pragma once

#include "kernels/backend.h"

namespace retain {

/// y [n,out] = x [n,in] · w [out,in]ᵀ
inline void linear(Backend& backend, const TensorView& x, const TensorView& w, const TensorView& y) {
  backend.matmul({.a = x, .b = w, .c = y, .transpose_b = true});
}

/// dx [n,in] = dy [n,out] · w [out,in]
inline void linear_input_gradient(Backend& backend, const TensorView& dy, const TensorView& w, const TensorView& dx) {
  backend.matmul({.a = dy, .b = w, .c = dx});
}

/// What a backward does with the parameter gradients that are there: the first micro-batch of a step replaces them, so
/// that they need not be zeroed and read, and the others add.
enum class GradientWrite : uint8_t { kReplace, kAdd };

/// dw [out,in] = or += dy [n,out]ᵀ · x [n,in]
inline void linear_weight_gradient(Backend& backend, const TensorView& dy, const TensorView& x, const TensorView& dw,
                                   GradientWrite write) {
  backend.matmul({.a = dy, .b = x, .c = dw, .transpose_a = true, .beta = write == GradientWrite::kAdd ? 1.0 : 0.0});
}

}  // namespace retain
