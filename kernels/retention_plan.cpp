#include "kernels/retention_plan.h"

namespace retain {

namespace {

constexpr int64_t kUnfoldedChunk = 64;

// Folded keys are up to γ^−C times as large as keys, and gradients of keys down to γ^C times as small. float and
// bfloat16 hold 2^−126 to 2^127: within 2^±60 products of them with values of 2^±66 stay finite and normal.
constexpr double kMostLog2Fold = 60;

// Large states are worth a larger chunk: their traffic falls with 1/C, while the work on scores grows with C.
int64_t cuda_chunk(int64_t key_dim) { return key_dim >= 256 ? 256 : 128; }

}  // namespace

RetentionPlan retention_plan(const RetentionRequest& r) {
  const int64_t folded = cuda_chunk(r.key_dim);
  const bool folds = r.device == Device::kCuda && r.key_dim % 8 == 0 && r.value_dim % 8 == 0 &&
                     -r.least_log2_gamma * static_cast<double>(folded) <= kMostLog2Fold;
  if (folds) return {.chunk = folded, .fold_chunk = folded};
  return {.chunk = r.chunk > 0 ? r.chunk : kUnfoldedChunk, .fold_chunk = 0};
}

}  // namespace retain
