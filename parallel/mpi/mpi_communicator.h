// Ranks as MPI processes exchanging host memory. Sums of floats are taken in the order of the ranks by our own code,
// because MPI only recommends that its reductions repeat: the bits are those of a thread communicator of the same size.
#pragma once

#include <cstdint>
#include <memory>

#include "kernels/core/activity.h"
#include "parallel/communicator.h"
#include "parallel/mpi/mpi_environment.h"

namespace retain {

inline constexpr int64_t kMpiBlockBytes = 4 << 20;

/// All ranks of MPI, which the environment keeps alive; a self communicator when there is one rank. Collective.
/// Tensors travel in blocks of at most block_bytes (which also bounds the scratch), so that no count reaches INT_MAX; a
/// few KiB of every rank at once, through others, so that messages do not grow with the ranks.
/// Tells `activity`, which outlives it, of its waits; without one nobody.
std::unique_ptr<Communicator> make_mpi_communicator(const MpiEnvironment& environment,
                                                    int64_t block_bytes = kMpiBlockBytes, Activity* activity = nullptr);

}  // namespace retain
