// How a device computes chunkwise retention, as a pure function: what is asked for goes in, what is done comes out.
// Everybody who needs the chunk asks here, so that the model, its plan and its benchmarks cannot differ.
#pragma once

#include "kernels/backend.h"

namespace retain {

struct RetentionRequest {
  Device device = Device::kCpu;
  int64_t key_dim = 1, value_dim = 1;  ///< of one head
  double least_log2_gamma = 0;         ///< log2 γ of the head that forgets fastest, of all heads and layers; <= 0
  int64_t chunk = 0;                   ///< tokens; 0: the device's best
};

struct RetentionPlan {
  int64_t chunk = 0;       ///< C, tokens: what was asked for, unless the decay is folded
  int64_t fold_chunk = 0;  ///< C when rotate folds the decay into q and k, else 0
};

/// GPUs fold the decay of heads whose widths 8 divides, in chunks of their own (128 tokens, 256 for keys of 256 or
/// wider), unless γ^−C would pass 2^60: their batched and Hopper kernels take nothing else. Other heads go token by
/// token through the plain kernel, which is slow, in any chunk. CPUs fold nothing.
RetentionPlan retention_plan(const RetentionRequest& request);

}  // namespace retain
