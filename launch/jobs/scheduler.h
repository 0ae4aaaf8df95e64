// Who starts the ranks of a run.
#pragma once

#include <cstdint>

namespace retain {

enum class Scheduler : uint8_t { kSlurm, kPbs, kLsf, kFlux, kMpirun };

}  // namespace retain
