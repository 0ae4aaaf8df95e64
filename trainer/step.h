// One optimizer step, readable aloud in step.cpp.
#pragma once

#include <functional>

#include "parallel/gradient_reducer.h"
#include "trainer/config.h"
#include "trainer/data/loader.h"
#include "trainer/model/retnet.h"

namespace retain {

/// Wishes from outside (signals, the file STOP), polled once a step on every rank.
struct Wishes {
  bool stop = false;  ///< checkpoint and end
  bool save = false;  ///< checkpoint and go on
};

struct StepResult {
  double loss = 0;       ///< nats per predicted token over the global batch
  double grad_norm = 0;  ///< before clipping
  double lr = 0;
  int64_t predicted_tokens = 0;  ///< targets that count, over the global batch
  Wishes wishes;                 ///< of any rank
  bool skipped = false;          ///< the gradient was not finite and nothing was updated
};

class TrainingStep {
 public:
  /// Bytes of the batch and the scalars, by the code that takes them.
  static int64_t memory_bytes(const BatchShape& shape);

  TrainingStep(Backend& backend, Mesh& mesh, const Config& config, ParameterStore& parameters, RetNet& model,
               TrainLoader& loader);

  /// Update number `index` (0-based) of the run. All ranks call it together, each with its own wishes. `before_update`
  /// is called when all has been queued but what changes master weights, moments and weights.
  StepResult run(int64_t index, const Wishes& mine, const std::function<void()>& before_update);

  /// Memory of a micro-batch, free between steps.
  const DeviceBatch& batch() const { return memory_.batch; }

 private:
  struct Memory {
    DeviceBatch batch;
    TensorView scalars;  ///< float64 [4]: loss, sum of squares, norm, clip scale
  };
  static Memory take_memory(Arena& arena, const BatchShape& shape);
  TensorView scalar(int i) const { return memory_.scalars.slice(0, i, 1); }

  Backend& backend_;
  Mesh& mesh_;
  const Config& config_;
  ParameterStore& parameters_;
  RetNet& model_;
  TrainLoader& loader_;
  GradientReducer reducer_;
  Range share_;  ///< this replica's even part of the flat gradient
  Buffer buffer_;
  Memory memory_;
};

}  // namespace retain
