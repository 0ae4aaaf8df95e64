#include "trainer/optimizer/adamw.h"

namespace retain {

void adamw_update(Backend& backend, const ParameterStore& parameters, Range flat, const TensorView& grad_scale,
                  const TensorView& rates, const OptimizerConfig& config) {
  const auto update = [&](Range range, double weight_decay) {
    for (const SharePiece& piece : parameters.updated().within(common(flat, range))) {
      backend.adamw({.gradient = parameters.gradient(piece),
                     .master = parameters.master(piece),
                     .m = parameters.moment1(piece),
                     .v = parameters.moment2(piece),
                     .weight = piece.of_flat(parameters.flat_weights()),
                     .grad_scale = grad_scale,
                     .rates = rates,
                     .beta1 = config.beta1,
                     .beta2 = config.beta2,
                     .eps = config.eps,
                     .weight_decay = weight_decay});
    }
  };
  const ParameterLayout& layout = parameters.layout();
  update(layout.matrices, config.weight_decay);
  update({layout.norms.begin, layout.group_norms.end}, 0);
}

}  // namespace retain
