// What a pass of the model over a batch, forward or backward, gives to every layer: the device, the ranks it exchanges
// with, the batch, and what is asked for.
#pragma once

#include <vector>

#include "kernels/backend.h"
#include "parallel/context_parallel.h"
#include "parallel/tensor_parallel.h"
#include "trainer/model/batch.h"
#include "trainer/model/dimensions.h"
#include "trainer/model/linear.h"

namespace retain {

/// What every layer remembers of a sequence that is continued instead of begun; shaped by the layer's mixer.
struct CarriedStates {
  std::vector<TensorView> in, out;  ///< one a layer; zeros at the beginning of a sequence
};

struct Pass {
  Backend& backend;
  TensorParallel& tp;
  ContextParallel& cp;
  const Dimensions& dims;
  const DeviceBatch& batch;
  RetentionForm form = RetentionForm::kChunkwise;
  const CarriedStates* states = nullptr;  ///< only when decoding
  GradientWrite gradients = GradientWrite::kAdd;
  bool again = false;  ///< this forward repeats one: what came from other ranks then and is kept is not exchanged again
};

}  // namespace retain
