// Descriptions of tensors for Hopper's copy engine.
#pragma once

#include <cuda.h>

#include "kernels/core/tensor.h"

namespace retain::cuda {

class TensorMapEncoder {
 public:
  /// Looks the driver's function up; throws Error(kDevice) if the driver is too old to have it.
  TensorMapEncoder();

  /// A bf16 view of rank 4 or 5, copied in boxes of 64 elements of its last dim and `rows` of dim `row_dim`, one of the
  /// others; coordinates are those of the view, the last dim first. What lies outside is read as zero and not written.
  /// The data and the strides are multiples of 16 bytes.
  CUtensorMap boxes(const TensorView& x, int row_dim, int rows) const;

 private:
  void* encode_ = nullptr;
};

}  // namespace retain::cuda
