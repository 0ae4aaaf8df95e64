#include "trainer/model/stream_norm.h"

namespace retain {

void StreamNorm::take_memory(Arena& x, Arena& rstd, Arena& u, const Dimensions& dims) {
  x_ = x.take(dims.compute, {dims.own_rows(), dims.model.hidden_size});
  u_ = u.take(dims.compute, {dims.padded_rows(), dims.model.hidden_size});
  rstd_ = rstd.take(dims.accumulate(), {dims.own_rows()});
}

Pending StreamNorm::forward(const Pass& pass, const Residual& in, int64_t chunk) const {
  const SequenceParallel& rows = pass.rows;
  const TensorView x = rows.held(x_, chunk), branch = rows.own(in.branch, chunk);
  if (!in.stream) {
    pass.backend.copy(x, branch);
    return repeat(pass, chunk);
  }
  pass.backend.rms_norm({.x = rows.held(in.stream, chunk),
                         .residual = branch,
                         .weight = weight_.weight,
                         .sum = x,
                         .y = rows.own(u_, chunk),
                         .rstd = rows.held(rstd_, chunk),
                         .eps = pass.dims.model.norm_eps});
  return rows.begin_gather(u_, chunk);
}

Pending StreamNorm::repeat(const Pass& pass, int64_t chunk) const {
  const SequenceParallel& rows = pass.rows;
  pass.backend.rms_norm({.x = rows.held(x_, chunk),
                         .weight = weight_.weight,
                         .y = rows.own(u_, chunk),
                         .rstd = rows.held(rstd_, chunk),
                         .eps = pass.dims.model.norm_eps});
  return rows.begin_gather(u_, chunk);
}

RowExchange StreamNorm::backward(const Pass& pass, RowExchange reduced, const TensorView& du, const TensorView& dx,
                                 bool residual) const {
  const SequenceParallel& rows = pass.rows;
  RowExchange gathered;
  for (int64_t chunk = 0; chunk < rows.chunks(); ++chunk) {
    reduced.wait(chunk);
    const TensorView own = rows.own(dx, chunk);
    pass.backend.rms_norm_backward({.dy = rows.own(du, chunk),
                                    .x = rows.held(x_, chunk),
                                    .weight = weight_.weight,
                                    .rstd = rows.held(rstd_, chunk),
                                    .dresidual = residual ? own : TensorView{},
                                    .dx = own,
                                    .dweight = weight_.gradient});
    gathered.add(rows.begin_gather(dx, chunk));
  }
  return gathered;
}

}  // namespace retain
