// What a token sees, and decay, on the device; see retention_scan.h.
#pragma once

#include "kernels/cuda/retention_scan.h"

namespace retain::cuda {

/// First token, relative to the segment, of the document that token t of sequence b belongs to; < 0: before it.
__device__ __forceinline__ int64_t document_start(const Sequences& s, int64_t b, int64_t t) {
  return s.document[b * s.document_stride + t] - s.position_offset;
}

__device__ __forceinline__ int64_t chunk_rows(const Sequences& s, int64_t c) {
  const int64_t left = s.tokens - c * s.chunk;
  return left < s.chunk ? left : s.chunk;
}

/// The token of chunk c at which the document of its last token starts; < 0: before the chunk, whose tokens then all
/// see the state before it, leave theirs in the state after it, and see each other.
__device__ __forceinline__ int last_start(const Sequences& s, int64_t b, int64_t c) {
  if (!s.document) return -1;
  const int64_t first = c * s.chunk, start = document_start(s, b, first + chunk_rows(s, c) - 1) - first;
  return start < 0 ? -1 : static_cast<int>(start);
}

/// True if the document at the end of chunk c reaches back before the chunk.
__device__ __forceinline__ bool reaches_back(const Sequences& s, int64_t b, int64_t c) {
  return last_start(s, b, c) < 0;
}

/// γ^n for n tokens. Exact to float's last digits without a double exponential, which would cost a thread as much as
/// its loads: 2^fraction of the exponent by float, the whole part exactly.
__device__ __forceinline__ float decay_over(double log2_gamma, int64_t n) {
  const double exponent = log2_gamma * static_cast<double>(n), whole = rint(exponent);
  return ldexpf(exp2f(static_cast<float>(exponent - whole)), static_cast<int>(whole));
}

}  // namespace retain::cuda
