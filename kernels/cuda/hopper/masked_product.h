// The product that gives every output of chunkwise retention, for all heads, in one kernel for Hopper. With the rows of
// x, y, z and out being a chunk's tokens,
//   out = mask(x yᵀ) z + x w,
// where w is the chunk's state, or the gradient of one, or its transpose. The mask keeps what a query sees: the scores
// on and below the diagonal where the rows of out are queries, those on and above it where they are keys.
//   output   x    y    z    w     mask    columns of x and y   of z and out
//   o        q̃    k̂    v    S     lower   K                    V
//   dq̃       do   v    k̂    Sᵀ    lower   V                    K
//   dv       k̂    q̃    do   R     upper   K                    V
//   dk̂       v    do   q̃    Rᵀ    upper   V                    K
// Scores stay in registers, rounded to bf16 like every operand; sums are fp32. For rows that do not meet the state, and
// for what lies in another document, see retention_scan.h.
#pragma once

#include <cuda_runtime_api.h>

#include <span>

#include "kernels/cuda/retention_scan.h"
#include "kernels/cuda/tensor_map.h"

namespace retain::cuda {

/// bf16; x, y, z, out [B,T,H,·]; states [B,N,H,K,V]. Nothing of out overlaps the operands.
struct MaskedProduct {
  TensorView x{}, y{}, z{}, out{}, states{};
  bool upper = false;
  int64_t stateless_chunk = -1;  ///< the chunk, if any, whose w is known to be zero
};

/// Heads that hopper_serves(). One or two products over the same tokens in one launch of `blocks` thread blocks;
/// `transposed`: w is the states' transpose. `sequences` are all B.
void masked_products(const char* operation, const TensorMapEncoder& encoder, std::span<const MaskedProduct> products,
                     bool transposed, const Sequences& sequences, int64_t blocks, cudaStream_t stream);

}  // namespace retain::cuda
