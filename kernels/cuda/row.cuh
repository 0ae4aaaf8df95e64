// Kernels over rows that each hold a row in registers: the width of a row decides how many warps share it and how many
// vectors a thread keeps.
#pragma once

#include <algorithm>

#include "kernels/cuda/check.h"
#include "kernels/cuda/dispatch.h"
#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/vector.cuh"
#include "kernels/cuda/workspace_layout.h"

namespace retain::cuda {

/// kWarps warps, a group, hold a row, kPerThread vectors of kVector elements a thread. Small groups share a block of
/// eight warps, so that a multiprocessor's 64 warps are reached with few blocks.
template <int kVectorElements, int kVectors, int kWarpsPerRow>
struct Row {
  static constexpr int kVector = kVectorElements;
  static constexpr int kPerThread = kVectors;
  static constexpr int kWarps = kWarpsPerRow;
  static constexpr int kThreads = 32 * kWarps;
  static constexpr int kGroups = kWarps < 8 ? 8 / kWarps : 1;
  static constexpr int kBlock = kThreads * kGroups;
  static constexpr int kCapacity = kThreads * kPerThread * kVector;

  __device__ static int thread() { return static_cast<int>(threadIdx.x) % kThreads; }
  __device__ static int group() { return static_cast<int>(threadIdx.x) / kThreads; }
  __device__ static int64_t first_row() { return int64_t{blockIdx.x} * kGroups + group(); }
  __device__ static int64_t row_step() { return int64_t{gridDim.x} * kGroups; }
  __device__ static int column(int i) { return (i * kThreads + thread()) * kVector; }

  /// Sum over the row's group, in a fixed order, for all its threads; `shared` holds kBlock / 32 values. Groups of a
  /// block need not call equally often.
  __device__ static float sum(float x, float* shared) {
    x = warp_sum(x);
    if constexpr (kWarps > 1) {
      float* own = shared + group() * kWarps;
      barrier();  // an earlier call's values may still be read
      if (threadIdx.x % 32 == 0) own[thread() / 32] = x;
      barrier();
      x = 0;
#pragma unroll
      for (int w = 0; w < kWarps; ++w) x += own[w];
    }
    return x;
  }

 private:
  __device__ static void barrier() {
    if constexpr (kGroups == 1) {
      __syncthreads();
    } else {
      static_assert(kGroups == 2);
      if (group() == 0) {
        named_barrier<1, kThreads>();
      } else {
        named_barrier<2, kThreads>();
      }
    }
  }
};

/// Calls f(Row<…>{}) with the configuration for rows of `width` elements of T. Vectors need aligned views and a width
/// that is a whole number of them; everything else goes element by element.
template <class T, class F>
void dispatch_row(const char* operation, int64_t width, bool aligned, F&& f) {
  constexpr int kN = kVectorOf<T>;
  if (aligned && width % kN == 0) {
    const int64_t vectors = width / kN;
    if (vectors <= 32) return f(Row<kN, 1, 1>{});
    if (vectors <= 64) return f(Row<kN, 2, 1>{});  // a warp alone needs no barrier
    if (vectors <= 128) return f(Row<kN, 1, 4>{});
    if (vectors <= 256) return f(Row<kN, 1, 8>{});
    if (vectors <= 512) return f(Row<kN, 2, 8>{});
    if (vectors <= 1024) return f(Row<kN, 2, 16>{});
    if (vectors <= 4096) return f(Row<kN, 8, 16>{});
  } else {
    if (width <= 32) return f(Row<1, 1, 1>{});
    if (width <= 256) return f(Row<1, 1, 8>{});
    if (width <= 2048) return f(Row<1, 8, 8>{});
    if (width <= 16384) return f(Row<1, 32, 16>{});
  }
  throw Error(ErrorKind::kDevice,
              concat(operation, ": rows of ", width, " elements", aligned ? "" : " (not aligned to 16 bytes)",
                     " are wider than the GPU kernel holds in registers"));
}

/// Blocks of a kernel whose blocks walk over many rows and leave one partial result each: one wave, at most
/// kPartialBlocks.
template <class Kernel>
unsigned persistent_blocks(Kernel kernel, int block, int64_t rows, int64_t rows_per_block, int multiprocessors) {
  int resident = 0;
  CUDA_CHECK(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&resident, kernel, block, 0));
  const int64_t wanted = (rows + rows_per_block - 1) / rows_per_block;
  return static_cast<unsigned>(std::min({wanted, kPartialBlocks, int64_t{std::max(resident, 1)} * multiprocessors}));
}

/// Stores this block's column sums: the registers of its only row group, or the sum over its groups in order.
/// All threads of the block call.
template <class R>
__device__ __forceinline__ void store_column_partials(const float (&sums)[R::kPerThread][R::kVector], int64_t width,
                                                      float* partials) {
  float* out = partials + int64_t{blockIdx.x} * width;
  if constexpr (R::kGroups == 1) {
#pragma unroll
    for (int i = 0; i < R::kPerThread; ++i) {
      if (R::column(i) < width) store(out + R::column(i), sums[i]);
    }
  } else {
    __shared__ float shared[R::kCapacity];
    for (int g = 0; g < R::kGroups; ++g) {
      if (R::group() == g) {
#pragma unroll
        for (int i = 0; i < R::kPerThread; ++i) {
#pragma unroll
          for (int j = 0; j < R::kVector; ++j) {
            float& cell = shared[R::column(i) + j];
            cell = g == 0 ? sums[i][j] : cell + sums[i][j];
          }
        }
      }
      __syncthreads();
    }
    for (int64_t column = threadIdx.x; column < width; column += R::kBlock) out[column] = shared[column];
  }
}

/// out[column] += Σ_rows partials[row][column], rows in a fixed order.
void add_column_sums(const char* operation, const float* partials, int64_t rows, int64_t columns, float* out,
                     cudaStream_t stream);

}  // namespace retain::cuda
