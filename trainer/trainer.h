// Everything that one rank needs to train, in the order of construction: sizes, parameters, model, data, memory of a
// step; and the step, readable aloud in step.cpp. No files but the token sets: the loop with metrics and checkpoints is
// TrainingRun.
#pragma once

#include <array>
#include <chrono>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "parallel/context_parallel.h"
#include "parallel/gradient_reducer.h"
#include "parallel/tensor_parallel.h"
#include "trainer/checkpoint/state_digest.h"
#include "trainer/data/loader.h"
#include "trainer/numerics/guard.h"
#include "trainer/numerics/layer_norms.h"
#include "trainer/numerics/replica_check.h"
#include "trainer/optimizer/gradient_exchange.h"
#include "trainer/plan/plan.h"
#include "trainer/step_recordings.h"

namespace retain {

/// Wishes from outside (signals, the file STOP), polled once a step on every rank.
struct Wishes {
  bool stop = false;        ///< checkpoint and end
  bool save = false;        ///< checkpoint and go on
  std::string reason = {};  ///< who asks ("SIGUSR1"), where this rank does
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

/// What is asked of a step, on all ranks alike.
struct StepOrder {
  UpdateLimits limits = {};  ///< of its numbers
  bool replay = false;       ///< its first micro-batch is computed twice, and compared
  bool norms = false;        ///< of its layers are measured
};

struct StepResult {
  double loss = 0;       ///< nats per predicted token over the global batch; NaN when there is none: nothing is updated
  double grad_norm = 0;  ///< before clipping; the same bits on every rank
  double agreed_loss = 0;  ///< the loss; likewise
  double lr = 0;
  int64_t predicted_tokens = 0;  ///< targets that count, over the global batch
  bool skipped = false;          ///< loss or gradient were not finite, or beyond a limit, and nothing was updated
  /// Of a replay that came to other bits on this rank, what differs first: 0 the losses, 1 + i the gradients of bucket
  /// i.
  std::optional<int64_t> replay_difference = {};
  std::vector<double> layer_squares = {};  ///< this rank's, of a step whose norms are measured: for LayerNorms::total()
};

class Trainer {
 public:
  /// Fingerprints that a step leaves: where replays are asked for, of the losses and of every bucket, twice.
  static int64_t replay_fingerprints(const NumericsConfig& config, const ParameterLayout& layout) {
    return config.replay_every > 0 ? 2 * (1 + std::ssize(layout.buckets)) : 0;
  }
  /// Bytes of the device for other fingerprints: of the state of training, and of what replicas compare.
  static int64_t fingerprint_bytes(const NumericsConfig& config, const ParameterLayout& layout) {
    return StateDigest::memory_bytes(layout) +
           (config.check_replicas_every > 0 ? ReplicaCheck::memory_bytes(layout) : 0);
  }
  /// Bytes of the device for the batches, scalars and fingerprints of two steps, by the code that takes them.
  static int64_t step_memory_bytes(const BatchShape& shape, int64_t micro_batches, int64_t fingerprints);
  /// Bytes of the host through which these travel.
  static int64_t staging_bytes(const BatchShape& shape, int64_t micro_batches, int64_t fingerprints);

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
  void queue(const std::function<void()>& before_update, const StepOrder& order = {});
  /// Waits for the oldest step that was queued.
  StepResult finish();
  /// Forgets the step that was prepared, if any: another one may be.
  void discard();

  /// Computes the step that was prepared, with all others finished, once more and looks for what is not finite: the
  /// weights, or of a micro-batch the loss or, in the order of backward, the gradients as they are before anything is
  /// exchanged. Says what was found first, on which rank and host; the same on all ranks; "" when there is nothing.
  /// Changes no weight. The step is forgotten.
  std::string find_bad_numbers();

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
  double opening_seconds() const { return opening_seconds_; }  ///< that the training data took to be opened
  StateDigest& state_digest() { return state_digest_; }
  const LayerNorms& layer_norms() const { return layer_norms_; }
  /// With all steps finished, where numerics.check_replicas_every asks for it. Throws Error(kData). Collective.
  void check_replicas(int64_t step) {
    if (replica_check_) replica_check_->run(step);
  }
  /// Memory of a micro-batch, free when all steps that were queued are finished.
  const DeviceBatch& batch() const { return slots_[free_slot_].batches.batches.front(); }

 private:
  /// What a step takes to the device and brings back. There are two: a step is prepared while another one is computed.
  struct Slot {
    StepBatches batches;
    TensorView scalars;                           ///< float64 [5]: those of AtWork, of a step that is done
    TensorView fingerprints;                      ///< int32 [2 (passes), 1 + buckets, 2]; none without replays
    StepBatches packed;                           ///< the batches on the host
    std::unique_ptr<HostBuffer> packed_memory;    ///< theirs
    std::unique_ptr<HostBuffer> results_on_host;  ///< scalars and fingerprints, as bytes
    int64_t result_bytes() const { return scalars.bytes() + (fingerprints.rank > 0 ? fingerprints.bytes() : 0); }
  };
  /// What the operations of a step read and write of it: the same memory in every step, so that they can be recorded.
  struct AtWork {
    StepBatches batch;    ///< one, the micro-batch
    TensorView settings;  ///< float64 [12]: what the host decides, see upload_settings()
    TensorView scalars;   ///< float64 [5]: three sums, norm, clip scale
  };
  struct Step {
    Progress done;  ///< before it
    size_t slot = 0;
    std::vector<DeviceBatch> batches;  ///< views of the slot's
    StepResult result;                 ///< as far as it is known
    std::exception_ptr failure;        ///< of the loading, on any rank
    bool uploaded = false;             ///< the batches are on their way, or there
    bool replay = false;
  };
  /// What is done with a micro-batch of a step.
  struct MicroBatchPass {
    bool first = true, last = true;    ///< of the step
    bool rehearsal = false;            ///< nothing becomes of its gradients
    bool norms = false;                ///< of what its layers retain are measured
    TensorView sum_of_losses;          ///< float64 [1]: set by the first, or added to
    GradientExchange::Look look = {};  ///< at its gradients
    /// At the losses of the tokens of a segment, [n].
    std::function<void(int64_t segment, const TensorView& losses)> look_at_losses = {};
  };
  static AtWork take_work_memory(Arena& arena, const BatchShape& shape);
  static void take_slot_memory(Arena& arena, const BatchShape& shape, int64_t micro_batches, int64_t fingerprints,
                               Slot& slot);
  /// Targets of the batches that this rank has loaded for the step, and packed.
  int64_t load(Step& step);
  /// Takes what differs from step to step to the device: the loss's scale, limits, learning rate.
  void upload_settings(const Step& step, const UpdateLimits& limits);
  /// A micro-batch of the step, in the memory of all.
  DeviceBatch bring_to_work(const Step& step, size_t micro);
  /// Gradients and loss of a micro-batch; what is looked at is not recorded.
  void train_on(const DeviceBatch& batch, const MicroBatchPass& pass);
  void train_on_recorded(const DeviceBatch& batch, const MicroBatchPass& pass);
  void queue_update(const std::function<void()>& before_update, bool norms);
  // ---- trainer/numerics/replay.cpp ----
  /// The first micro-batch of a step before its time, for its fingerprints.
  void rehearse(const Step& step);
  /// Lets a pass leave those of its losses and gradients: int32 [1, 1 + buckets, 2].
  void take_fingerprints(const TensorView& fingerprints, MicroBatchPass& pass);
  /// What of the two passes, `count` fingerprints each, differs first.
  static std::optional<int64_t> find_difference(const std::byte* fingerprints, int64_t count);
  // ---- trainer/numerics/bad_numbers.cpp ----
  /// What is not finite in the order of find_bad_numbers(): the first, and what to call it.
  struct BadNumber {
    int64_t order = 0;
    std::string name;
  };
  std::optional<BadNumber> find_bad_weight(const TensorView& sums);
  std::optional<BadNumber> find_bad_result(const Step& step, const TensorView& sums);

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
  std::chrono::steady_clock::time_point opening_begin_ = std::chrono::steady_clock::now();
  TrainLoader loader_;
  double opening_seconds_ = std::chrono::duration<double>(std::chrono::steady_clock::now() - opening_begin_).count();
  StateDigest state_digest_;
  LayerNorms layer_norms_;
  std::optional<ReplicaCheck> replica_check_;
  Buffer buffer_;
  AtWork work_;
  StepRecordings recordings_;
  std::array<Slot, 2> slots_;
  size_t free_slot_ = 0;  ///< of the step that is prepared next
  std::optional<Step> next_;
  std::deque<Step> queued_;  ///< and not finished, the oldest first
};

}  // namespace retain
