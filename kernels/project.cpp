#include "kernels/project.h"

namespace retain {

void project_in_parts(Backend& backend, const ProjectArgs& args) {
  if (args.norm)
    backend.rms_norm({.x = args.x, .weight = args.norm, .y = args.normed, .rstd = args.rstd, .eps = args.eps});
  backend.matmul({.a = args.norm ? args.normed : args.x,
                  .b = args.weight,
                  .c = args.activation ? args.product : args.y,
                  .transpose_b = true,
                  .beta = args.adds ? 1.0 : 0.0});
  if (!args.activation) return;
  const int64_t width = args.y.shape[1];
  const bool gated = *args.activation != FfnKind::kGelu;
  backend.ffn_activation({.kind = *args.activation,
                          .a = args.product.slice(1, 0, width),
                          .b = gated ? args.product.slice(1, width, width) : TensorView{},
                          .h = args.y});
}

}  // namespace retain
