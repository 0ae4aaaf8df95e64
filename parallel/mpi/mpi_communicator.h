// Ranks as MPI processes exchanging host memory. Sums of floats are taken in the order of the ranks by our own code,
// because MPI only recommends that its reductions repeat: the bits are those of a thread communicator of the same size.
#pragma once

#include <cstdint>
#include <memory>

#include "parallel/communicator.h"
#include "parallel/mpi/mpi_environment.h"

namespace retain {

/// All ranks of MPI, which the environment keeps alive; a self communicator when there is one rank. Collective.
/// Tensors travel in blocks of at most block_bytes (which also bounds the scratch), so that no count reaches INT_MAX; a
/// few KiB of every rank at once, through others, so that messages do not grow with the ranks.
std::unique_ptr<Communicator> make_mpi_communicator(const MpiEnvironment& environment, int64_t block_bytes = 4 << 20);

}  // namespace retain
