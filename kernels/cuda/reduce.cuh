// Sums and maxima over the threads of a warp or a block, in an order that never changes; every thread gets the result.
#pragma once

#include <cstdint>

namespace retain::cuda {

template <class T>
__device__ __forceinline__ T warp_sum(T x) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) x += __shfl_xor_sync(0xffffffffU, x, offset);
  return x;
}

__device__ __forceinline__ float warp_max(float x) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) x = fmaxf(x, __shfl_xor_sync(0xffffffffU, x, offset));
  return x;
}

/// Waits for kThreads threads of the block, whole warps, that name the same barrier; 0 is __syncthreads' own. The
/// number is a constant because a kernel that computes it takes all sixteen barriers of a multiprocessor's slot.
template <int kBarrier, int kThreads>
__device__ __forceinline__ void named_barrier() {
  asm volatile("bar.sync %0, %1;" ::"n"(kBarrier), "n"(kThreads) : "memory");
}

/// Sum over a block of kWarps warps, all of whose threads call; `shared` holds kWarps values.
template <int kWarps, class T>
__device__ __forceinline__ T block_sum(T x, T* shared) {
  x = warp_sum(x);
  __syncthreads();  // an earlier call's values may still be read
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = x;
  __syncthreads();
  x = 0;
#pragma unroll
  for (int w = 0; w < kWarps; ++w) x += shared[w];
  return x;
}

template <int kWarps>
__device__ __forceinline__ float block_max(float x, float* shared) {
  x = warp_max(x);
  __syncthreads();
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = x;
  __syncthreads();
  x = shared[0];
#pragma unroll
  for (int w = 1; w < kWarps; ++w) x = fmaxf(x, shared[w]);
  return x;
}

}  // namespace retain::cuda
