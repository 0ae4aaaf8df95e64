// AdamW over what this rank updates: matrices decay, norm weights do not.
#pragma once

#include "trainer/config.h"
#include "trainer/model/parameters.h"

namespace retain {

/// Updates master, moments and weights of what lies of parameters.updated() in a flat range. grad_scale float64 [1] on
/// the device, rates float64 [3] there: adamw_rates().
void adamw_update(Backend& backend, const ParameterStore& parameters, Range flat, const TensorView& grad_scale,
                  const TensorView& rates, const OptimizerConfig& config);

}  // namespace retain
