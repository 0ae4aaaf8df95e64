// Elementary functions that the compiler can vectorise: float32 by polynomials, float64 by the C library.
// Relative error of the float32 exp below 2e-7. NaN stays NaN. Private to kernels/cpu.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

#include "kernels/cpu/cpu_backend.h"

namespace retain::cpu {

RETAIN_INLINE double exp_of(double x) { return std::exp(x); }

/// exp by x = n ln 2 + r, |r| <= ln 2 / 2, and the Taylor polynomial of degree 7 in r; saturates at e^±80. The clamp
/// works on the bits: written with comparisons, the compiler would compute later products for every lane with the
/// constant of the saturated ones, and products of the smallest numbers take a hundred times longer.
RETAIN_INLINE float exp_of(float x) {
  const auto bits = std::bit_cast<uint32_t>(x);
  const uint32_t magnitude = std::min(bits & 0x7fffffffU, std::bit_cast<uint32_t>(80.F));
  const float clamped = std::bit_cast<float>(magnitude | (bits & 0x80000000U));
  const float shifted = clamped * 1.44269504F + 12582912.F;  // 1.5 * 2^23: the integer is left in the low bits
  const float n = shifted - 12582912.F;
  const float r = (clamped - n * 0.693145752F) - n * 1.42860677e-6F;  // ln 2 in two parts
  float p = 1.F / 5040;
  p = p * r + 1.F / 720;
  p = p * r + 1.F / 120;
  p = p * r + 1.F / 24;
  p = p * r + 1.F / 6;
  p = p * r + 0.5F;
  p = p * r + 1.F;
  p = p * r + 1.F;
  const float y = p * std::bit_cast<float>((std::bit_cast<uint32_t>(shifted) << 23) + 0x3f800000U);
  return x == x ? y : x;
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

/// Below 1 a polynomial in x², above it 1 − exp(−x²) q(1 / (1 + x/2)): both Chebyshev fits, absolute error below 2e-7.
RETAIN_INLINE float erf_of(float x) {
  const float a = std::abs(x), s = x * x;
  float p = 7.88249713e-05F;
  p = p * s - 0.0008018855F;
  p = p * s + 0.00518931194F;
  p = p * s - 0.0268543288F;
  p = p * s + 0.112835975F;
  p = p * s - 0.376126269F;
  p = p * s + 1.12837917F;
  const float t = 1.F / (1.F + 0.5F * a);
  float q = 0.119259046F;
  q = q * t - 0.470881783F;
  q = q * t + 0.562773107F;
  q = q * t - 0.10317263F;
  q = q * t + 0.347565025F;
  q = q * t + 0.259765812F;
  q = q * t + 0.284898212F;
  q = q * t - 0.000153064795F;
  const float tail = std::copysign(1.F - q * exp_of(-s), x);
  return a < 1.F ? x * p : tail;
}

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
