// Ranks with a GPU each, exchanging device memory through NCCL. A collective runs on the communicator's own stream,
// after everything queued on the compute stream so far; Pending::wait() makes the compute stream wait for it, and the
// host never waits. NCCL's order of summation depends on the group, the size and the machine alone, so runs repeat.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "kernels/core/activity.h"
#include "parallel/mesh.h"

namespace retain {

/// "2.28.3"; empty in a build without NCCL.
std::string nccl_version();

struct NcclOptions {
  /// How long a set-up or a barrier may take before every rank gives up.
  std::chrono::seconds deadline{300};
  /// Of the process, which outlives the group: told of its collectives, and asked for its health (Activity::Question).
  Activity* activity = nullptr;
};

/// The same ranks as `host`, which is used during this call only, each on its own `device` of this process, ordered
/// with `compute_stream` (a cudaStream_t, Backend::stream()). Collective. A group of one gets a self communicator and
/// touches no GPU. Throws Error(kDevice) when two ranks share a GPU, when NCCL fails, or in a build without NCCL.
/// When an exception destroys the communicator, collectives under way are aborted. It does not split().
std::unique_ptr<Communicator> make_nccl_communicator(Communicator& host, int device, void* compute_stream,
                                                     const NcclOptions& options = {});

/// Makes the groups of a Mesh over `world`, each with an id that its ranks exchange over host memory; looks once, now,
/// that no two ranks of the world share a GPU. Collective. The rest is as above.
MakeTensorGroup make_nccl_groups(Communicator& world, int device, void* compute_stream,
                                 const NcclOptions& options = {});

}  // namespace retain
