#include "trainer/optimizer/adamw.h"

#include <algorithm>

namespace retain {

void adamw_update(Backend& backend, const ParameterStore& parameters, const TensorView& gradients,
                  const TensorView& grad_scale, const OptimizerConfig& config, double lr, int64_t step) {
  const Range slice = parameters.slice();
  const auto update = [&](Range part, double weight_decay) {
    const int64_t begin = std::max(part.begin, slice.begin), count = std::min(part.end, slice.end) - begin;
    if (count <= 0) return;
    const int64_t local = begin - slice.begin;
    backend.adamw({.gradient = gradients.slice(0, begin, count),
                   .master = parameters.master().slice(0, local, count),
                   .m = parameters.moment1().slice(0, local, count),
                   .v = parameters.moment2().slice(0, local, count),
                   .weight = parameters.flat_weights().slice(0, begin, count),
                   .grad_scale = grad_scale,
                   .lr = lr,
                   .beta1 = config.beta1,
                   .beta2 = config.beta2,
                   .eps = config.eps,
                   .weight_decay = weight_decay,
                   .step = step});
  };
  const ParameterLayout& layout = parameters.layout();
  update(layout.matrices, config.weight_decay);
  update({layout.norms.begin, layout.group_norms.end}, 0);
}

}  // namespace retain
