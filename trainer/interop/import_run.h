// Weights from elsewhere as the first checkpoint of a run: step 0, whose moments are zero.
#pragma once

#include <functional>

#include "trainer/inference/weight_source.h"

namespace retain {

/// Writes the step into a run's folder, in shards of which one at a time is in memory, durably. `state` says what it is
/// of; its step is 0. `progress` is called with shards written and shards in all. Gives the step's folder. Throws
/// Error(kData) for damage, Error(kCannotCreate), Error(kIo).
Path write_first_step(
    const WeightSource& weights, const ModelConfig& model, const RunState& state, const Path& run_directory,
    const std::function<void(int64_t, int64_t)>& progress = [](int64_t, int64_t) {});

}  // namespace retain
