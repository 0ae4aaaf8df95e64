// Everything that one rank needs to train, in the order of construction: sizes, parameters, model, data, step. No files
// but the token sets: the loop with metrics and checkpoints is TrainingRun.
#pragma once

#include <functional>

#include "parallel/context_parallel.h"
#include "parallel/tensor_parallel.h"
#include "trainer/plan/plan.h"
#include "trainer/step.h"

namespace retain {

class Trainer {
 public:
  /// Allocates everything (see plan.h) and draws the initial weights. The backend, the mesh and the configuration
  /// outlive it.
  Trainer(Backend& backend, Mesh& mesh, const Config& config, const Target& target);

  /// Update number `index` (0-based); see TrainingStep. `before_update` holds the queue for a save that may still copy
  /// the state: HostState::hold_queue(). It does nothing only where no save goes on beside a step.
  StepResult step(int64_t index, const Wishes& mine, const std::function<void()>& before_update) {
    return step_.run(index, mine, before_update);
  }

  Backend& backend() { return backend_; }
  Mesh& mesh() { return mesh_; }
  const Config& config() const { return config_; }
  ParameterStore& parameters() { return parameters_; }
  RetNet& model() { return model_; }
  TrainLoader& loader() { return loader_; }
  /// Memory of a micro-batch, free between steps.
  const DeviceBatch& batch() const { return step_.batch(); }
  /// This replica's even part of the flat order: what it writes into a checkpoint.
  Range share() const { return share_; }

 private:
  Backend& backend_;
  Mesh& mesh_;
  const Config& config_;
  TensorParallel tp_;
  ContextParallel cp_;
  Dimensions dims_;
  ParameterLayout layout_;
  Range share_;
  ParameterStore parameters_;
  RetNet model_;
  TrainLoader loader_;
  TrainingStep step_;
};

}  // namespace retain
