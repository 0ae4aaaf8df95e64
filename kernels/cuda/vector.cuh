// Vectors of consecutive elements: the memory-bound kernels move 16 bytes a thread and access, and compute in float.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

#include "kernels/core/tensor.h"

namespace retain::cuda {

/// N consecutive elements; loads and stores of a whole Pack are as wide as its alignment.
template <class T, int N>
struct alignas(N * sizeof(T) < 16 ? N * sizeof(T) : 16) Pack {
  T v[N];
};

/// Elements of the activation type in 16 bytes.
template <class T>
inline constexpr int kVectorOf = 16 / static_cast<int>(sizeof(T));

__device__ __forceinline__ float to_float(float x) { return x; }
__device__ __forceinline__ float to_float(__nv_bfloat16 x) { return __bfloat162float(x); }

template <class T>
__device__ __forceinline__ T from_float(float x);
template <>
__device__ __forceinline__ float from_float<float>(float x) {
  return x;
}
template <>
__device__ __forceinline__ __nv_bfloat16 from_float<__nv_bfloat16>(float x) {
  return __float2bfloat16_rn(x);
}

template <int N, class T>
__device__ __forceinline__ Pack<T, N> load_pack(const T* p) {
  return *reinterpret_cast<const Pack<T, N>*>(p);
}

template <int N, class T>
__device__ __forceinline__ void store_pack(T* p, const Pack<T, N>& x) {
  *reinterpret_cast<Pack<T, N>*>(p) = x;
}

template <class T, int N>
__device__ __forceinline__ void unpack(const Pack<T, N>& pack, float (&x)[N]) {
#pragma unroll
  for (int j = 0; j < N; ++j) x[j] = to_float(pack.v[j]);
}

template <class T, int N>
__device__ __forceinline__ void load(const T* p, float (&x)[N]) {
  unpack(load_pack<N>(p), x);
}

template <class T, int N>
__device__ __forceinline__ void store(T* p, const float (&x)[N]) {
  Pack<T, N> pack;
#pragma unroll
  for (int j = 0; j < N; ++j) pack.v[j] = from_float<T>(x[j]);
  store_pack<N>(p, pack);
}

/// The view's elements as T; the caller has dispatched on the dtype. Null for an absent view.
template <class T>
T* pointer(const TensorView& view) {
  return static_cast<T*>(view.data);
}

/// True if the view can be accessed in vectors of 16 bytes along its last dim, or is absent. The last dim itself is
/// the caller's to check. Float32 views beside bfloat16 ones are accessed at the same elements, so 16 bytes suffice.
inline bool vector_aligned(const TensorView& view) {
  if (!view) return true;
  if (reinterpret_cast<uintptr_t>(view.data) % 16 != 0) return false;
  for (int d = 0; d + 1 < view.rank; ++d) {
    if (view.shape[d] > 1 && view.stride[d] * dtype_bytes(view.dtype) % 16 != 0) return false;
  }
  return true;
}

template <class... Views>
bool vectors_aligned(const Views&... views) {
  return (vector_aligned(views) && ...);
}

}  // namespace retain::cuda
