// Digests of the state of training that no mesh changes: of every tensor's master, m and v the fingerprint
// (kernels/ops.h) of the whole, with the element's place in the whole tensor for its index. It is the sum of those of
// the parts that ranks hold. The device computes it before a save copies its memory and after a load has filled it, so
// that all between is compared: copies, files, and what a load makes of them.
#pragma once

#include <vector>

#include "trainer/checkpoint/trainer_state.h"

namespace retain {

class StateDigest {
 public:
  /// Of the device, by the code that takes them.
  static int64_t memory_bytes(const ParameterLayout& layout);

  /// The parameters, which update at least the share, outlive it.
  StateDigest(Backend& backend, const ParameterStore& parameters, const ReplicaShare& share, int tp_rank);

  /// Of this rank's part of every tensor, in the order of placements_of(); zeros of what another rank stores. Of the
  /// weights alone the rest is zeros. Waits for the device.
  std::vector<StateDigests> compute(LoadedPart part = LoadedPart::kAll);

 private:
  void add(const ShareBox& box, LoadedPart part);

  Backend& backend_;
  const ParameterStore& parameters_;
  ReplicaShare share_;
  std::vector<TensorPlacement> placements_;
  Buffer buffer_;
  TensorView sums_;  ///< int32 [tensors, 3, 2]
};

/// Compares what was loaded with the digests that the checkpoint holds; one of an older release holds none, and one of
/// another precision was rounded. `mine` is what compute() gave. Throws Error(kData) on every rank, naming the first
/// tensor that differs. Collective.
void refuse_other_digest(Communicator& host, const Checkpoint& checkpoint, DType accumulate,
                         const std::vector<StateDigests>& mine, LoadedPart part);

}  // namespace retain
