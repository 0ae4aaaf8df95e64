#include "trainer/model/block.h"

namespace retain {

Block::Block(const Declarations& declare, const ModelConfig& model, std::unique_ptr<Mixer> mixer)
    : mixer_(std::move(mixer)),
      norm_(declare.norm(mixer_->name() + std::string("_norm.weight"), model.hidden_size)),
      ffn_norm_(declare.norm("ffn_norm.weight", model.hidden_size)),
      ffn_(declare, model) {}

void Block::take_saved(Arena& arena, const Dimensions& dims, Residency residency) {
  const auto take = [&] { return arena.take(dims.compute, {dims.rows(), dims.model.hidden_size}); };
  const auto take_rstd = [&] { return arena.take(dims.accumulate(), {dims.rows()}); };
  saved_ = {.x = take(), .u = take(), .x_mid = take(), .u_mid = take(), .rstd = take_rstd(), .rstd_mid = take_rstd()};
  mixer_->take_saved(arena, dims, residency);
  ffn_.take_saved(arena, dims);
}

void Block::take_scratch(Arena& arena, const Dimensions& dims, Residency residency) {
  const auto take = [&] { return arena.take(dims.compute, {dims.rows(), dims.model.hidden_size}); };
  scratch_.branch = take();
  if (residency == Residency::kTraining) scratch_.du = take();
  // The mixer and the FFN are never at work at the same time: they share memory.
  Arena mixer_part = arena, ffn_part = arena;
  mixer_->take_scratch(mixer_part, dims, residency);
  ffn_.take_scratch(ffn_part, dims, residency);
  arena = mixer_part.used_bytes() > ffn_part.used_bytes() ? mixer_part : ffn_part;
}

Residual Block::forward(const Pass& pass, const Residual& in) const {
  const double eps = pass.dims.model.norm_eps;
  if (!in.branch) pass.backend.copy(saved_.x, in.stream);
  pass.backend.rms_norm({.x = in.branch ? in.stream : saved_.x,
                         .residual = in.branch,
                         .weight = norm_.weight,
                         .sum = in.branch ? saved_.x : TensorView{},
                         .y = saved_.u,
                         .rstd = saved_.rstd,
                         .eps = eps});
  mixer_->forward(pass, saved_.u, scratch_.branch);

  pass.backend.rms_norm({.x = saved_.x,
                         .residual = scratch_.branch,
                         .weight = ffn_norm_.weight,
                         .sum = saved_.x_mid,
                         .y = saved_.u_mid,
                         .rstd = saved_.rstd_mid,
                         .eps = eps});
  ffn_.forward(pass, saved_.u_mid, scratch_.branch);
  return {.stream = saved_.x_mid, .branch = scratch_.branch};
}

void Block::backward(const Pass& pass, const TensorView& dx) const {
  ffn_.backward(pass, dx, saved_.u_mid, scratch_.du);
  pass.backend.rms_norm_backward({.dy = scratch_.du,
                                  .x = saved_.x_mid,
                                  .weight = ffn_norm_.weight,
                                  .rstd = saved_.rstd_mid,
                                  .dresidual = dx,
                                  .dx = dx,
                                  .dweight = ffn_norm_.gradient});

  mixer_->backward(pass, dx, saved_.u, scratch_.du);
  pass.backend.rms_norm_backward({.dy = scratch_.du,
                                  .x = saved_.x,
                                  .weight = norm_.weight,
                                  .rstd = saved_.rstd,
                                  .dresidual = dx,
                                  .dx = dx,
                                  .dweight = norm_.gradient});
}

}  // namespace retain
