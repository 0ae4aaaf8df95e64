// What can be known to be wrong before a run starts anything: inputs that are missing or too short, no GPU, too little
// memory. Looked at by one rank, thrown alike on all.
#pragma once

#include "parallel/communicator.h"
#include "trainer/plan.h"

namespace retain {

/// Collective over `host`. `local_ranks` share this machine. Throws ConfigError: kMissingInput, kData, kDevice,
/// kOutOfMemory (naming the largest parts and what would help).
void check_before_start(Communicator& host, const Config& config, const Target& target, int local_ranks);

}  // namespace retain
