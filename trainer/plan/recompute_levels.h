// What each level of recompute would need and cost: `retain plan` shows it, and a run that does not fit is told.
#pragma once

#include <vector>

#include "trainer/plan/plan.h"

namespace retain {

struct LevelPlan {
  Recompute level = Recompute::kNone;
  int64_t segment_tokens = 0;  ///< where sequences are trained by segments
  int64_t needed_bytes = 0;    ///< RunPlan::needed_bytes()
  /// Of a step, as a multiple of that at the level none: work that is done again counts by its FLOPs at the rate of the
  /// rest, and where memory binds it by its bytes at an H200's rates.
  double relative_time = 1;
};

/// In the order of kRecomputeLevels.
std::vector<LevelPlan> plan_levels(const Config& config, int ranks, const Target& target);

/// relative_time of a level, a sequence being cut into so many segments.
double relative_step_time(const ModelConfig& model, Recompute level, int64_t segments, int64_t chunk, DType compute);

}  // namespace retain
