// How long a step is going to take, before anything was measured or from what was. Pure.
#pragma once

#include <vector>

#include "trainer/plan/plan.h"
#include "trainer/study/study.h"

namespace retain::study {

/// Seconds of a step of this run: with measured rates, its batch at the rate that lies between those of the sizes
/// nearest to it (a power law of the parameters; beyond the ends that of the FLOPs of the last); else step_seconds and
/// the FLOPs at flops_per_second. What the machine does not say is guessed: an H200, or a core of a CPU.
double step_seconds(const Config& config, const RunPlan& plan, const Machine& machine);

}  // namespace retain::study
