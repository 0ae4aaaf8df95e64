// AdamW over what this rank updates: matrices decay, norm weights do not. With model.base_width rates, decay and
// epsilon depend on what a parameter does (trainer/model/scaling.h).
#pragma once

#include <array>

#include "trainer/config.h"
#include "trainer/model/parameters.h"

namespace retain {

/// adamw_rates() of each UpdateGroup, one after the other.
using UpdateRates = std::array<double, size_t{3} * kUpdateGroups>;
UpdateRates update_rates(const Config& config, double lr, int64_t step);

/// Updates master, moments and weights of what lies of parameters.updated() in a flat range. grad_scale float64 [1] on
/// the device, rates float64 [kUpdateGroups * 3] there: update_rates().
void adamw_update(Backend& backend, const ParameterStore& parameters, Range flat, const TensorView& grad_scale,
                  const TensorView& rates, const Config& config);

}  // namespace retain
