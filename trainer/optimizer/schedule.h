// The learning rate as a pure function of how far a run has come.
#pragma once

#include "trainer/config.h"

namespace retain {

/// Learning rate of update `index` (0-based) of `steps`. Warm-up rises linearly to optimizer.lr at index warmup_steps −
/// 1; then linear, cosine: from lr towards final·lr at the end; constant: lr; wsd: lr, and in the last decay_fraction
/// of the run linearly towards final·lr.
/// `index` is whole but where a resume changed the batch.
double learning_rate(const ScheduleConfig& schedule, double lr, int64_t steps, double index);
/// Of the update that follows on `tokens` trained: in steps of the present batch, whatever the batches before were.
double learning_rate(const Config& config, int64_t tokens);

/// Steps at the end of a wsd run in which the rate falls: decay_fraction of the run, rounded up.
int64_t wsd_decay_steps(const ScheduleConfig& schedule, int64_t steps);

}  // namespace retain
