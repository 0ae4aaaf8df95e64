// What a trainer puts into a checkpoint and takes out of one: the bridge between flat device buffers and stored
// tensors.
#pragma once

#include <vector>

#include "trainer/checkpoint/reader.h"
#include "trainer/model/parameters.h"

namespace retain {

/// How this rank's flat order maps to whole tensors. Norm weights, equal on all tp ranks, are stored by tp rank 0.
std::vector<TensorPlacement> placements_of(const ParameterLayout& layout, int tp_rank);

/// Host memory for one replica's share of master, m and v: what a save reads while training goes on.
class HostState {
 public:
  HostState(const ParameterStore& parameters, Range share);
  /// Copies the share from the device. Returns when it is here.
  void download(Backend& backend, const ParameterStore& parameters);
  FlatState flat() const { return flat_; }
  int64_t bytes() const { return static_cast<int64_t>(memory_.size()); }

 private:
  std::vector<std::byte> memory_;
  FlatState flat_;
};

/// Host memory that a load of the whole state of training goes through, from a checkpoint of any mesh:
///   StateLoad load(parameters, tp_rank, host_state);
///   const auto checkpoint = open_newest(…, &target) with target = load.target(accept);
///   if (checkpoint) load.finish(backend, replicas);
class StateLoad {
 public:
  /// `staging`, which no save has used yet, lends its memory where it is the right one: always with ZeRO.
  StateLoad(ParameterStore& parameters, int tp_rank, const HostState& staging);
  LoadTarget target(std::function<void(const RunState&)> accept) const;
  /// Fills master, moments and weights. Collective over `replicas`.
  void finish(Backend& backend, Communicator& replicas);

 private:
  ParameterStore& parameters_;
  int tp_rank_;
  std::vector<std::byte> memory_;
  FlatState host_;
};
/// Weights alone, from a checkpoint of any mesh; moments stay as they are. Not collective.
void load_weights(const Checkpoint& checkpoint, ParameterStore& parameters);

}  // namespace retain
