// A replay computes the first micro-batch of a step twice and compares fingerprints of its losses and of each bucket of
// its gradients, before anything is added or exchanged: a device that computes other bits from the same ones is found.
//
// The pass that counts is the second. The first writes where that one will write, memory that is free between two
// steps, so that a replay takes none but the fingerprints'; all ranks of a replica, which exchange activations, go
// through it together, and nothing goes over the replicas. It counts nothing, and moves no cursor.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "parallel/mesh.h"
#include "trainer/model/parameter_layout.h"

namespace retain {

/// After a step with a replay, on all ranks: `difference` is this rank's (StepResult::replay_difference). Throws
/// Error(kData) on every rank when there is one anywhere, naming what differs first and on which ranks of one replica:
/// those that exchange activations differ together, and the one with the earliest difference is named first. Collective
/// over the host's group. `place` is this rank's (naming.h).
void refuse_replay_difference(Mesh& mesh, const std::string& place, const ParameterLayout& layout, int64_t step,
                              const std::optional<int64_t>& difference);

}  // namespace retain
