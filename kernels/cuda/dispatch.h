// Choosing a kernel's template arguments from run-time values, and launch sizes.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

#include "kernels/core/dtype.h"

namespace retain::cuda {

/// Calls f(T{}) with the element type of activations.
template <class F>
void dispatch_compute(const char* operation, DType dtype, F&& f) {
  switch (dtype) {
    case DType::kFloat32: return f(float{});
    case DType::kBfloat16: return f(__nv_bfloat16{});
    default: throw Error(ErrorKind::kDevice, concat(operation, ": ", dtype_name(dtype), " activations on a GPU"));
  }
}

/// Thread blocks that cover n items, `per_block` each.
inline unsigned block_count(int64_t n, int64_t per_block) {
  const int64_t blocks = (n + per_block - 1) / per_block;
  RETAIN_CHECK(blocks < (int64_t{1} << 31), n, " items are too many for one launch");
  return static_cast<unsigned>(blocks);
}

/// The same, for the second and third grid dimensions, whose kernels loop.
inline unsigned looped_blocks(int64_t n) { return static_cast<unsigned>(n < 65535 ? n : 65535); }

}  // namespace retain::cuda
