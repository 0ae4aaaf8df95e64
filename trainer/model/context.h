// What every layer is given: the device, the ranks it exchanges with, the batch, and the tables shared by all layers.
#pragma once

#include <vector>

#include "kernels/backend.h"
#include "parallel/context_parallel.h"
#include "parallel/tensor_parallel.h"
#include "trainer/model/batch.h"
#include "trainer/model/dimensions.h"
#include "trainer/model/linear.h"

namespace retain {

/// Tables that do not change while a model lives.
struct ModelTables {
  TensorView rotation;    ///< accumulate [T, K/2, 2] for the positions of this rank's segment
  TensorView log2_gamma;  ///< float64 [H] of this rank's heads
};

/// The recurrent states of all layers, when a sequence is continued instead of begun: accumulate [B,H,K,V] each.
struct CarriedStates {
  std::vector<TensorView> in, out;  ///< one a layer; in is empty at the beginning of a sequence
};

struct Context {
  Backend& backend;
  TensorParallel& tp;
  ContextParallel& cp;
  const Dimensions& dims;
  const DeviceBatch& batch;
  const ModelTables& tables;
  RetentionForm form = RetentionForm::kChunkwise;
  const CarriedStates* carried = nullptr;  ///< only when decoding
  GradientWrite gradients = GradientWrite::kAdd;
};

}  // namespace retain
