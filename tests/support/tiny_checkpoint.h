// Checkpoints of trainers in tests: saving, loading, and what two of them are compared by.
#pragma once

#include <string>

#include "trainer/checkpoint/trainer_state.h"
#include "trainer/checkpoint/writer.h"
#include "trainer/trainer.h"

namespace retain::test {

/// What a checkpoint says about the trainer after `step` updates.
RunState run_state_of(Trainer& trainer, int64_t step);
/// Saves the state after `step` updates and waits for it. Throws Error. Collective.
void save_state(Trainer& trainer, const std::string& run, int64_t step);
/// Loads the newest step of a run, of any mesh. Throws Error. Collective.
void load_state(Trainer& trainer, const std::string& run, LoadedPart part = LoadedPart::kAll);
/// The digest of the newest step of a run.
std::string digest_of(const std::string& run);

}  // namespace retain::test
