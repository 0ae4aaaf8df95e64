// How long a step is going to take, before anything was measured or from what was. Pure.
#pragma once

#include <vector>

#include "trainer/plan/plan.h"
#include "trainer/study/study.h"

namespace retain::study {

/// Seconds of a step of this run: with measured rates, its batch at the rate that lies between those of the sizes
/// nearest to it (a power law of the parameters; beyond the ends that of the FLOPs of the last); else step_seconds and
/// the FLOPs at flops_per_second. Where the machine does not say how fast it is: on GPUs what is predicted for an H200
/// (trainer/plan/step_time.h), at least step_seconds; on CPUs a guess of a core.
double step_seconds(const Config& config, const RunPlan& plan, const Machine& machine);

}  // namespace retain::study
