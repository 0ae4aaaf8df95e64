// Elementary functions that the compiler can vectorise: float32 by polynomials, float64 by the C library.
// Relative error of the float32 exp below 2e-7. NaN stays NaN. Private to kernels/cpu.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

#include "kernels/cpu/cpu_backend.h"

namespace retain::cpu {

RETAIN_INLINE double exp_of(double x) { return std::exp(x); }

/// exp by x = n ln 2 + r, |r| <= ln 2 / 2, and the Taylor polynomial of degree 7 in r; saturates where float32 does.
RETAIN_INLINE float exp_of(float x) {
  x = x < -87.3F ? -87.3F : x;
  x = x > 88.3F ? 88.3F : x;
  const float shifted = x * 1.44269504F + 12582912.F;  // 1.5 * 2^23: the integer is left in the low bits
  const float n = shifted - 12582912.F;
  const float r = (x - n * 0.693145752F) - n * 1.42860677e-6F;  // ln 2 in two parts
  float p = 1.F / 5040;
  p = p * r + 1.F / 720;
  p = p * r + 1.F / 120;
  p = p * r + 1.F / 24;
  p = p * r + 1.F / 6;
  p = p * r + 0.5F;
  p = p * r + 1.F;
  p = p * r + 1.F;
  return p * std::bit_cast<float>((std::bit_cast<uint32_t>(shifted) << 23) + 0x3f800000U);
}

template <class T>
RETAIN_INLINE T sigmoid(T x) {
  return T{1} / (T{1} + exp_of(-x));
}

template <class T>
RETAIN_INLINE T silu(T x) {
  return x * sigmoid(x);
}

template <class T>
RETAIN_INLINE T silu_gradient(T x) {
  const T s = sigmoid(x);
  return s * (T{1} + x * (T{1} - s));
}

RETAIN_INLINE double erf_of(double x) { return std::erf(x); }
RETAIN_INLINE float erf_of(float x) { return std::erf(x); }

/// x Φ(x) with the normal distribution function Φ.
template <class T>
RETAIN_INLINE T gelu(T x) {
  return T(0.5) * x * (T{1} + erf_of(x * T(0.70710678118654752440)));
}

template <class T>
RETAIN_INLINE T gelu_gradient(T x) {
  const T density = T(0.39894228040143267794) * exp_of(T(-0.5) * x * x);
  return T(0.5) * (T{1} + erf_of(x * T(0.70710678118654752440))) + x * density;
}

}  // namespace retain::cpu
