// What a trainer puts into a checkpoint and takes out of one: the bridge between flat device buffers and stored
// tensors.
#pragma once

#include <memory>
#include <vector>

#include "trainer/checkpoint/reader.h"
#include "trainer/model/parameters.h"

namespace retain {

/// How this rank's flat order maps to whole tensors. Norm weights, equal on all tp ranks, are stored by tp rank 0.
std::vector<TensorPlacement> placements_of(const ParameterLayout& layout, int tp_rank);

/// Host memory for one replica's share of master, m and v: what a save reads while training goes on.
///   host_state.begin_copy();             // after a step
///   writer.begin(…, host_state.flat(), [&] { host_state.wait(); });
///   trainer.step(…, [&] { host_state.hold_queue(); });
class HostState {
 public:
  static int64_t memory_bytes(const ReplicaShare& share, DType accumulate);

  /// The parameters, which update at least the share, outlive it. Throws Error(kOutOfMemory).
  HostState(Backend& backend, const ParameterStore& parameters, const ReplicaShare& share);
  /// Begins to copy the share from the device, as it is at this point of the queue. No save may be reading flat().
  void begin_copy();
  /// What is queued from now on runs after the copy: called before the update changes what is being copied.
  void hold_queue() { memory_->hold_queue(); }
  /// Waits, on any thread, for the copy that was begun and gives the seconds that it took.
  double wait() { return memory_->wait() * 1e-3; }
  const FlatState& flat() const { return flat_; }
  int64_t bytes() const { return memory_->bytes(); }

 private:
  const ParameterStore& parameters_;
  std::unique_ptr<HostBuffer> memory_;
  FlatState flat_;
};

/// What of a checkpoint is loaded: the state of training, or the weights alone, with which a new run begins.
enum class LoadedPart : uint8_t { kAll, kWeights };

/// Loads the state of training, from a checkpoint of any mesh, through the memory that saves are written from:
/// every replica reads its share, and where it keeps more than that, without ZeRO, it gets the rest from the others.
///   StateLoad load(parameters, tp_rank, host_state);
///   const auto checkpoint = open_newest(…, &target) with target = load.target(accept);
///   if (checkpoint) load.finish(backend, reducer);
class StateLoad {
 public:
  /// `staging`, which no save has used yet, lends its memory and outlives this.
  StateLoad(ParameterStore& parameters, int tp_rank, const HostState& staging, LoadedPart part = LoadedPart::kAll);
  LoadTarget target(std::function<void(const RunState&)> accept) const;
  /// Fills master and weights, and the moments, which otherwise stay as they are. Collective over the replicas.
  void finish(Backend& backend, const GradientReducer& reducer);

 private:
  ParameterStore& parameters_;
  int tp_rank_;
  LoadedPart part_;
  FlatState loaded_;
};

}  // namespace retain
