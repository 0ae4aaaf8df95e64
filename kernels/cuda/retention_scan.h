// The kernels of chunkwise retention that are not products: masks by zero-writing, and the scan over chunk states.
// The kernels here work on one head. With chunk c of `chunk` tokens (the last may be shorter) starting at token c0 of
// the segment:
//   row t sees the state before its chunk  iff its document started before c0,
//   row t belongs to the state after its chunk  iff its document is that of the chunk's last token.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "kernels/ops.h"

namespace retain::cuda {

/// What this rank holds of some sequences: their chunks, and which tokens share a document; document null: all of them,
/// with everything that came before.
struct Sequences {
  const int32_t* document = nullptr;  ///< [B,T] positions at which the tokens' documents start
  int64_t document_stride = 0, position_offset = 0;
  int64_t batch = 0, tokens = 0, chunk = 0, chunks = 0;  ///< chunks of one sequence
};

/// Of `batch` sequences of `tokens` tokens, in the context's chunks, which are those that are folded in, if any are.
inline Sequences sequences_of(const RetentionContext& context, int64_t batch, int64_t tokens) {
  Sequences s;
  s.document = static_cast<const int32_t*>(context.document_start.data);
  s.document_stride = context.document_start.stride[0];
  s.position_offset = context.position_offset;
  s.batch = batch;
  s.tokens = tokens;
  s.chunk = context.folded_chunk > 0 ? context.folded_chunk : context.chunk;
  s.chunks = (tokens + s.chunk - 1) / s.chunk;
  return s;
}

enum class RowMask : uint8_t { kSeesState, kLeavesState };

/// scores [copies][B·N][C][C], row-major: zero where column > row or the column lies in an earlier document.
void mask_scores(const char* operation, DType type, void* scores, int64_t copies, const Sequences& sequences,
                 cudaStream_t stream);

/// Rows [B,T,width] of one head: zero where the mask does not hold.
void zero_rows(const char* operation, DType type, void* x, int64_t batch_stride, int64_t token_stride, int64_t width,
               RowMask mask, const Sequences& sequences, cudaStream_t stream);

/// out [B,T,width] contiguous = x where the mask holds, else zero.
void copy_masked_rows(const char* operation, DType type, void* out, const void* x, int64_t batch_stride,
                      int64_t token_stride, int64_t width, RowMask mask, const Sequences& sequences,
                      cudaStream_t stream);

/// One head's chunk products, turned in place into chunk states (kept as the compute type, carried in fp32).
struct StateScan {
  void* states = nullptr;  ///< [B,N,elements] with these strides
  int64_t batch_stride = 0, chunk_stride = 0;
  int64_t elements = 0;             ///< K·V
  const float* boundary = nullptr;  ///< fp32 state in (forward) or its gradient out (reverse) of this head, or null: 0
  float* result = nullptr;          ///< state out, or gradient in; or null
  int64_t boundary_stride = 0;      ///< of a sequence
  const double* log2_gamma = nullptr;  ///< of this head
  bool store = true;                   ///< false: only `result` is wanted
};

/// S_0 = γ·boundary; the product U_c at c is replaced by S_c; S_(c+1) = γ^len (S_c + U_c); result = S_N / γ.
void scan_states(const char* operation, DType type, const StateScan& scan, const Sequences& sequences,
                 cudaStream_t stream);

/// R_last = γ^(len−1)·boundary; the product D_c at c is replaced by R_c; R_(c−1) = γ^len (D_c + R_c); result = γ (D_0 +
/// R_0).
void scan_states_reverse(const char* operation, DType type, const StateScan& scan, const Sequences& sequences,
                         cudaStream_t stream);

}  // namespace retain::cuda
