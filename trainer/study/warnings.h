// What a reader of a fit should be warned of, each by a name that scripts can look for.
#pragma once

#include <vector>

#include "trainer/study/fit.h"

namespace retain {

/// Of a fit that is complete but for its warnings. Names: diverged-runs, unusable-rows, outliers, duplicate-cells,
/// mixed-schedules, few-runs, narrow-params, narrow-compute, narrow-ratio, narrow-budget, minimum-at-edge, no-minimum,
/// negative-exponent, exponent-at-bound, no-effect, e-not-identified, few-starts, solvers-disagree, one-solver,
/// leave-one-out, no-holdout, resamples-redrawn.
std::vector<StudyWarning> find_warnings(const StudyFit& study);

}  // namespace retain
