#include "trainer/plan/run_disk.h"

namespace retain {

SavesToCome saves_to_come(const Config& config, int64_t done, int64_t last) {
  return {.done = done, .last = last, .every = config.checkpoint.every};
}

Retention retention_of(const CheckpointConfig& config) {
  return {.keep = config.keep,
          .keep_every = config.keep_every,
          .keep_best = config.keep_best,
          .before_save = config.free_before_save};
}

DiskPlan plan_disk(const Config& config, const RunPlan& plan, int64_t done, int64_t last,
                   const CheckpointsOnDisk& found) {
  return plan_disk(retention_of(config.checkpoint), config.checkpoint.free_before_save,
                   saves_to_come(config, done, last), plan.checkpoint_bytes, found);
}

}  // namespace retain
