// How much of a disk the checkpoints of a configured run take: trainer/checkpoint/disk_plan.h of what a plan says.
#pragma once

#include "trainer/checkpoint/disk_plan.h"
#include "trainer/plan/plan.h"

namespace retain {

/// The saves of a run that has finished so many steps and trains on to `last`, and what they keep.
SavesToCome saves_to_come(const Config& config, int64_t done, int64_t last);
Retention retention_of(const CheckpointConfig& config);
/// How much of the disk under run.dir the checkpoints of this run will take, beside what is there.
DiskPlan plan_disk(const Config& config, const RunPlan& plan, int64_t done, int64_t last,
                   const CheckpointsOnDisk& found);

}  // namespace retain
