// Proof that we train the same model as a public implementation: its weights, our logits, loss and gradients beside its
// own.
#pragma once

#include <string>
#include <vector>

#include "kernels/backend.h"

namespace retain {

/// One compared tensor: ‖ours − theirs‖ / ‖theirs‖ (Frobenius) and what is allowed.
struct GoldenComparison {
  std::string mode;  ///< "parallel", "chunkwise", "recurrent"
  std::string name;  ///< "logits", "loss", "grad.<their name>"
  double error = 0, limit = 0;
  bool passed() const { return error <= limit; }  // NaN fails
};

/// Evaluates the model of `folder` (config.json, model.safetensors) on the tokens of its golden.safetensors, in the
/// three forms, with gradients in parallel and chunkwise form if it holds any. Limits: fp64, fp32: logits and loss
/// 1e-5, gradients 1e-4; bf16: 3e-2, 6e-2 (rounding the weights alone costs up to 3e-2). Throws Error(kMissingInput),
/// Error(kData) when the folder is not what it should be.
std::vector<GoldenComparison> check_golden(const std::string& folder, Backend& backend, DType compute);

}  // namespace retain
