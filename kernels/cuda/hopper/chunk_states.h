// The states before each chunk, for all heads, in one kernel for Hopper: products of a chunk's keys and values, carried
// from chunk to chunk in fp32 registers. The scan's recurrences are those of retention_scan.h.
#pragma once

#include <cuda_runtime_api.h>

#include "kernels/cuda/retention_scan.h"
#include "kernels/cuda/tensor_map.h"

namespace retain::cuda {

/// x bf16 [B,T,H,K], y bf16 [B,T,H,V]; states bf16 [B,N,H,K,V], optional; boundary, result float32 [B,H,K,V]
/// contiguous, optional. Forward: x = k̂, y = v, states = S, boundary = state in, result = state out. Reverse: x = q̃,
/// y = do, states = R, boundary = gradient of the state out, result = that of the state in. Rows of x that the mask of
/// their direction takes out count as zero.
struct ChunkStates {
  TensorView x{}, y{}, states{}, boundary{}, result{};
  const double* log2_gamma = nullptr;  ///< [H]
  bool reverse = false;
};

/// `sequences` are all B; K a multiple of 128, V of 256, chunks of 128 or 256 tokens.
void chunk_states(const char* operation, const TensorMapEncoder& encoder, const ChunkStates& args,
                  const Sequences& sequences, int multiprocessors, cudaStream_t stream);

}  // namespace retain::cuda
