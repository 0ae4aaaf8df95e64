// What a pass of the model over a batch, forward or backward, gives to every layer: the device, the ranks it exchanges
// with, the batch, and what is asked for.
#pragma once

#include <vector>

#include "kernels/backend.h"
#include "parallel/context_parallel.h"
#include "parallel/sequence_parallel.h"
#include "parallel/tensor_parallel.h"
#include "trainer/model/batch.h"
#include "trainer/model/dimensions.h"
#include "trainer/model/linear.h"

namespace retain {

/// What a layer remembers of a sequence that is continued instead of begun; shaped by the layer's mixer. Each may be
/// absent, and `out` and `in` the same.
struct LayerStates {
  TensorView in{}, out{};                ///< before and after the tokens of all cp ranks
  TensorView part_in{};                  ///< before this rank's tokens: set by the forward where cp ranks share them
  TensorView dstate_out{}, dstate_in{};  ///< for the backward: the gradients of out and in, which it sets
};
using CarriedStates = std::vector<LayerStates>;  // one a layer

struct Pass {
  Backend& backend;
  TensorParallel& tp;
  const SequenceParallel& rows;  ///< of what the ranks of tp exchange
  ContextParallel& cp;
  const Dimensions& dims;
  const DeviceBatch& batch;
  RetentionForm form = RetentionForm::kChunkwise;
  const CarriedStates* states = nullptr;
  GradientWrite gradients = GradientWrite::kAdd;
  bool again = false;  ///< this forward repeats one: part_in is there
};

}  // namespace retain
