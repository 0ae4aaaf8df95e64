// Elementwise reduction in host memory, in the order of the ranks: what makes the sums of host communicators the same
// bits on every rank, in every run, and under threads and MPI alike.
#pragma once

#include <span>

#include "parallel/communicator.h"

namespace retain {

/// out[i] = ((parts[0][i] op parts[1][i]) op parts[2][i]) …; out may be one of the parts. Integer sums wrap around,
/// those of bfloat16 are taken in float32 and rounded once. max and min of NaN are unspecified.
void reduce_in_order(ReduceOp op, DType dtype, void* out, std::span<const void* const> parts, int64_t count);

}  // namespace retain
