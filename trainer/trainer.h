// Everything that one rank needs to train, in the order of construction: sizes, parameters, model, data, memory of a
// step; and the step, readable aloud in step.cpp. No files but the token sets: the loop with metrics and checkpoints is
// TrainingRun.
#pragma once

#include <functional>

#include "parallel/context_parallel.h"
#include "parallel/gradient_reducer.h"
#include "parallel/tensor_parallel.h"
#include "trainer/data/loader.h"
#include "trainer/optimizer/gradient_exchange.h"
#include "trainer/plan/plan.h"

namespace retain {

/// Wishes from outside (signals, the file STOP), polled once a step on every rank.
struct Wishes {
  bool stop = false;  ///< checkpoint and end
  bool save = false;  ///< checkpoint and go on
};

/// What a run has done so far.
struct Progress {
  int64_t steps = 0;    ///< finished updates
  int64_t tokens = 0;   ///< trained on
  int64_t samples = 0;  ///< drawn: the next update begins with the one of this number
};
/// After so many more steps of this configuration.
Progress advance(const Progress& progress, const Config& config, int64_t steps);

struct StepResult {
  double loss = 0;       ///< nats per predicted token over the global batch; NaN when there is none: nothing is updated
  double grad_norm = 0;  ///< before clipping
  double lr = 0;
  int64_t predicted_tokens = 0;  ///< targets that count, over the global batch
  Wishes wishes;                 ///< of any rank
  bool skipped = false;          ///< the gradient was not finite and nothing was updated
};

class Trainer {
 public:
  /// Bytes of a micro-batch and of a step's scalars, by the code that takes them.
  static int64_t step_memory_bytes(const BatchShape& shape);

  /// Allocates everything (see plan.h) and draws the initial weights. The backend, the mesh and the configuration
  /// outlive it. Tests give small models small buckets.
  Trainer(Backend& backend, Mesh& mesh, const Config& config, const Target& target,
          int64_t bucket_elements = kBucketElements);

  /// The update that follows on `done`. All ranks call it together, each with its own wishes. A save may still be
  /// copying master weights, moments and weights: `before_update`, called when all has been queued but what changes
  /// these, makes the rest wait for it (HostState::hold_queue()). It does nothing only where no save goes on beside a
  /// step.
  StepResult step(const Progress& done, const Wishes& mine, const std::function<void()>& before_update);
  /// Update number `index` (0-based) of a run whose configuration never changed.
  StepResult step(int64_t index, const Wishes& mine, const std::function<void()>& before_update) {
    return step(advance({}, config_, index), mine, before_update);
  }

  Backend& backend() { return backend_; }
  Mesh& mesh() { return mesh_; }
  const Config& config() const { return config_; }
  ParameterStore& parameters() { return parameters_; }
  /// How this rank's parameters are divided over the replicas.
  const GradientReducer& reducer() const { return reducer_; }
  RetNet& model() { return model_; }
  TrainLoader& loader() { return loader_; }
  /// Memory of a micro-batch, free between steps.
  const DeviceBatch& batch() const { return memory_.batch; }

 private:
  struct StepMemory {
    DeviceBatch batch;
    TensorView scalars;  ///< float64 [4]: loss, sum of squares, norm, clip scale
  };
  static StepMemory take_step_memory(Arena& arena, const BatchShape& shape);
  /// Gradients and loss of a micro-batch of a step, the first, the last, both or neither.
  void train_on(const DeviceBatch& batch, double scale, bool first, bool last);
  TensorView scalar(int i) const { return memory_.scalars.slice(0, i, 1); }

  Backend& backend_;
  Mesh& mesh_;
  const Config& config_;
  TensorParallel tp_;
  ContextParallel cp_;
  Dimensions dims_;
  ParameterLayout layout_;
  GradientReducer reducer_;
  ParameterStore parameters_;
  GradientExchange exchange_;
  RetNet model_;
  TrainLoader loader_;
  Buffer buffer_;
  StepMemory memory_;
};

}  // namespace retain
