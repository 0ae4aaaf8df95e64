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

/// Fills master, moments and weights of the store from a checkpoint of any mesh. Collective over `replicas`.
void load_training_state(const Checkpoint& checkpoint, Backend& backend, ParameterStore& parameters, int tp_rank,
                         Communicator& replicas);
/// Weights alone, from a checkpoint of any mesh; moments stay as they are. Not collective.
void load_weights(const Checkpoint& checkpoint, ParameterStore& parameters);

}  // namespace retain
