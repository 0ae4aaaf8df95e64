// Element types of tensors, and bf16 on the host.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>

#include "kernels/core/error.h"

namespace retain {

enum class DType : uint8_t { kFloat32, kFloat64, kBfloat16, kInt32, kUint8 };

/// Bytes of one element.
constexpr int64_t dtype_bytes(DType dtype) {
  switch (dtype) {
    case DType::kFloat64: return 8;
    case DType::kFloat32:
    case DType::kInt32: return 4;
    case DType::kBfloat16: return 2;
    case DType::kUint8: return 1;
  }
  return 0;
}

/// "float32", "bfloat16", …
constexpr const char* dtype_name(DType dtype) {
  switch (dtype) {
    case DType::kFloat64: return "float64";
    case DType::kFloat32: return "float32";
    case DType::kInt32: return "int32";
    case DType::kBfloat16: return "bfloat16";
    case DType::kUint8: return "uint8";
  }
  return "unknown";
}

/// The type of gradients, states, statistics and master weights beside activations and weights of a type.
constexpr DType accumulate_of(DType compute) { return compute == DType::kFloat64 ? DType::kFloat64 : DType::kFloat32; }

/// The upper half of a float32; conversion rounds to nearest, ties to even; NaN stays NaN.
struct Bfloat16 {
  uint16_t bits = 0;

  static Bfloat16 from_float(float value) {
    const auto u = std::bit_cast<uint32_t>(value);
    if ((u & 0x7fffffffU) > 0x7f800000U) return {static_cast<uint16_t>((u >> 16) | 0x0040U)};
    return {static_cast<uint16_t>((u + 0x7fffU + ((u >> 16) & 1U)) >> 16)};
  }
  float to_float() const { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }
};

template <class T>
constexpr DType dtype_of();
template <>
constexpr DType dtype_of<float>() {
  return DType::kFloat32;
}
template <>
constexpr DType dtype_of<double>() {
  return DType::kFloat64;
}
template <>
constexpr DType dtype_of<Bfloat16>() {
  return DType::kBfloat16;
}
template <>
constexpr DType dtype_of<int32_t>() {
  return DType::kInt32;
}
template <>
constexpr DType dtype_of<uint8_t>() {
  return DType::kUint8;
}

}  // namespace retain
