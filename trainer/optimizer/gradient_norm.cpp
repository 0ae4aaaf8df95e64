#include "trainer/optimizer/gradient_norm.h"

namespace retain {

void gradient_norm(Backend& backend, Mesh& mesh, const ParameterLayout& layout, const TensorView& gradients,
                   const ReplicaShare& share, double max_norm, const TensorView& sum_of_squares, const TensorView& norm,
                   const TensorView& scale) {
  backend.fill(sum_of_squares, 0);
  const auto add = [&](Range range) {
    for (const SharePiece& piece : share.within(range)) {
      backend.reduce({.kind = ReduceKind::kSumOfSquares,
                      .x = piece.of_flat(gradients),
                      .out = sum_of_squares,
                      .accumulate = true});
    }
  };
  add(layout.matrices);
  if (mesh.tp().rank() == 0) add({layout.norms.begin, layout.group_norms.end});
  mesh.replicas().all_reduce(sum_of_squares, ReduceOp::kSum).wait();
  mesh.tp().all_reduce(sum_of_squares, ReduceOp::kSum).wait();
  backend.clip_scale({.sum_of_squares = sum_of_squares, .norm = norm, .scale = scale, .max_norm = max_norm});
}

}  // namespace retain
