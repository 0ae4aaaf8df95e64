// What a model is written as for other libraries.
#pragma once

#include <cstdint>

#include "kernels/core/dtype.h"
#include "trainer/interop/foreign_layout.h"

namespace retain {

struct ExportFormat {
  ForeignLayout layout = ForeignLayout::kFla;
  DType dtype = DType::kFloat32;        ///< float32 or bfloat16, rounded to nearest even
  int64_t shard_bytes = 5'000'000'000;  ///< of tensors in a file; a larger tensor has a file of its own
};

}  // namespace retain
