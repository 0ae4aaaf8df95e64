#include "trainer/optimizer/adamw.h"

#include <algorithm>

namespace retain {

UpdateRates update_rates(const Config& config, double lr, int64_t step) {
  UpdateRates rates{};
  for (size_t group = 0; group < kUpdateGroups; ++group) {
    const double factor = update_factors(config.model, static_cast<UpdateGroup>(group)).rate;
    std::ranges::copy(adamw_rates(lr * factor, config.optimizer.beta1, config.optimizer.beta2, step),
                      rates.begin() + static_cast<std::ptrdiff_t>(3 * group));
  }
  return rates;
}

void adamw_update(Backend& backend, const ParameterStore& parameters, Range flat, const TensorView& grad_scale,
                  const TensorView& rates, const Config& config) {
  const OptimizerConfig& optimizer = config.optimizer;
  for (const UpdateRange& range : parameters.layout().updates) {
    const UpdateFactors factors = update_factors(config.model, range.group);
    for (const SharePiece& piece : parameters.updated().within(common(flat, range.flat))) {
      backend.adamw({.gradient = parameters.gradient(piece),
                     .master = parameters.master(piece),
                     .m = parameters.moment1(piece),
                     .v = parameters.moment2(piece),
                     .weight = piece.of_flat(parameters.flat_weights()),
                     .grad_scale = grad_scale,
                     .rates = rates.slice(0, 3 * static_cast<int64_t>(range.group), 3),
                     .beta1 = optimizer.beta1,
                     .beta2 = optimizer.beta2,
                     .eps = optimizer.eps * factors.eps,
                     .weight_decay = range.decays ? optimizer.weight_decay * factors.decay : 0});
    }
  }
}

}  // namespace retain
