// When a run does not fit: which parts are the largest, and which changes of the configuration would help, found by
// planning each of them.
#pragma once

#include <string>

#include "trainer/plan/plan.h"

namespace retain {

/// "the largest parts of a rank: activations 61.2 GiB, …; enough is each of: train.micro_batch_tokens: 8192 (70.1 GiB a
/// rank), …". Only changes that are legal; of each kind the mildest after which a rank needs at most `limit_bytes` of
/// its device. When none is enough, those that save a twentieth or more.
std::string memory_advice(const Config& config, int ranks, const Target& target, int64_t limit_bytes);

/// "61.2"
std::string gibibytes(int64_t bytes);

}  // namespace retain
