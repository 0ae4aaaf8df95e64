// Everything that one rank needs to train, in the order of construction: sizes, parameters, model, data, memory of a
// step; and the step, readable aloud in step.cpp. No files but the token sets: the loop with metrics and checkpoints is
// TrainingRun.
#pragma once

#include <array>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <optional>

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

/// What all ranks know of a step before it is queued.
struct NextStep {
  Wishes wishes;        ///< of any rank
  bool failed = false;  ///< a rank could not load its batches: queue() will throw
};

struct StepResult {
  double loss = 0;       ///< nats per predicted token over the global batch; NaN when there is none: nothing is updated
  double grad_norm = 0;  ///< before clipping
  double lr = 0;
  int64_t predicted_tokens = 0;  ///< targets that count, over the global batch
  bool skipped = false;          ///< the gradient was not finite and nothing was updated
};

class Trainer {
 public:
  /// Bytes of the device for the batches and scalars of two steps, by the code that takes them.
  static int64_t step_memory_bytes(const BatchShape& shape, int64_t micro_batches);
  /// Bytes of the host through which these travel.
  static int64_t staging_bytes(const BatchShape& shape, int64_t micro_batches);

  /// Allocates everything (see plan.h) and draws the initial weights. The backend, the mesh and the configuration
  /// outlive it. Tests give small models small buckets.
  Trainer(Backend& backend, Mesh& mesh, const Config& config, const Target& target,
          int64_t bucket_elements = kBucketElements);

  // A step in three parts, so that the device never waits for the host. All ranks call them together and in this
  // order; at most one step is being computed when another one is prepared:
  //   prepare(n + 1, …);  // while step n is being computed
  //   queue(…);           // before it is done
  //   finish();           // what step n came to

  /// Begins the update that follows on `done`: its batches are loaded and on their way to the device, and all ranks
  /// know what any of them wishes. What hinders the loading is thrown by queue(), where the step would begin.
  NextStep prepare(const Progress& done, const Wishes& mine);
  /// Queues what was prepared. A save may still be copying master weights, moments and weights: `before_update`, called
  /// when all has been queued but what changes these, makes the rest wait for it (HostState::hold_queue()). It does
  /// nothing only where no save goes on beside a step.
  void queue(const std::function<void()>& before_update);
  /// Waits for the oldest step that was queued.
  StepResult finish();

  /// The three for a single step, before which all others are finished.
  StepResult step(const Progress& done, const Wishes& mine, const std::function<void()>& before_update);
  /// Update number `index` (0-based) of a run whose configuration never changed.
  StepResult step(int64_t index, const Wishes& mine, const std::function<void()>& before_update) {
    return step(advance({}, config_, index), mine, before_update);
  }

  Backend& backend() { return backend_; }
  const Backend& backend() const { return backend_; }
  Mesh& mesh() { return mesh_; }
  const Config& config() const { return config_; }
  ParameterStore& parameters() { return parameters_; }
  /// How this rank's parameters are divided over the replicas.
  const GradientReducer& reducer() const { return reducer_; }
  RetNet& model() { return model_; }
  TrainLoader& loader() { return loader_; }
  /// Memory of a micro-batch, free when all steps that were queued are finished.
  const DeviceBatch& batch() const { return slots_[free_slot_].batches.batches.front(); }

 private:
  /// What a step takes to the device and brings back. There are two: a step is prepared while another one is computed.
  struct Slot {
    StepBatches batches;
    TensorView scalars;                           ///< float64 [4]: loss, sum of squares, norm, clip scale
    StepBatches packed;                           ///< the batches on the host
    std::unique_ptr<HostBuffer> packed_memory;    ///< theirs
    std::unique_ptr<HostBuffer> scalars_on_host;  ///< as bytes
  };
  struct Step {
    Progress done;  ///< before it
    size_t slot = 0;
    std::vector<DeviceBatch> batches;  ///< views of the slot's
    StepResult result;                 ///< as far as it is known
    std::exception_ptr failure;        ///< of the loading, on any rank
  };
  static void take_slot_memory(Arena& arena, const BatchShape& shape, int64_t micro_batches, Slot& slot);
  /// Targets of the batches that this rank has loaded for the step, and packed.
  int64_t load(Step& step);
  /// Gradients and loss of a micro-batch of a step, the first, the last, both or neither.
  void train_on(const DeviceBatch& batch, double scale, bool first, bool last, const TensorView& sum_of_losses);
  void queue_update(const Step& step, const TensorView& scalars, const std::function<void()>& before_update);

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
  std::array<Slot, 2> slots_;
  size_t free_slot_ = 0;  ///< of the step that is prepared next
  std::optional<Step> next_;
  std::deque<Step> queued_;  ///< and not finished, the oldest first
};

}  // namespace retain
