#include "trainer/model/block.h"

namespace retain {

Block::Block(const Declarations& declare, const ModelConfig& model, std::unique_ptr<Mixer> mixer)
    : mixer_(std::move(mixer)),
      norm_(declare.norm(mixer_->name() + std::string("_norm.weight"), model.hidden_size)),
      ffn_norm_(declare.norm("ffn_norm.weight", model.hidden_size)),
      ffn_(declare, model) {}

void Block::take_memory(Arena& own, Arena& shared, const Dimensions& dims, Residency residency) {
  take_activations(ActivationMemory(own, shared, dims, residency), dims);
  take_scratch(shared, dims, residency);
}

void Block::take_activations(const ActivationMemory& memory, const Dimensions& dims) {
  const auto take = [&](Arena& arena) { return arena.take(dims.compute, {dims.rows(), dims.model.hidden_size}); };
  const auto take_rstd = [&] { return memory.products().take(dims.accumulate(), {dims.rows()}); };
  saved_ = {.x = take(memory.inputs()),
            .u = take(memory.elementwise()),
            .x_mid = take(memory.products()),
            .u_mid = take(memory.elementwise()),
            .rstd = take_rstd(),
            .rstd_mid = take_rstd()};
  mixer_->take_activations(memory, dims);
  ffn_.take_activations(memory, dims);
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
  if (!in.branch) pass.backend.copy(saved_.x, in.stream);
  norm(pass, in.branch ? in : Residual{.stream = saved_.x, .branch = {}});
  mixer_->forward(pass, saved_.u, scratch_.branch);
  ffn_norm(pass, {.stream = saved_.x, .branch = scratch_.branch});
  ffn_.forward(pass, saved_.u_mid, scratch_.branch);
  return {.stream = saved_.x_mid, .branch = scratch_.branch};
}

void Block::norm(const Pass& pass, const Residual& in) const {
  pass.backend.rms_norm({.x = in.stream,
                         .residual = in.branch,
                         .weight = norm_.weight,
                         .sum = in.branch ? saved_.x : TensorView{},
                         .y = saved_.u,
                         .rstd = saved_.rstd,
                         .eps = pass.dims.model.norm_eps});
}

void Block::ffn_norm(const Pass& pass, const Residual& in) const {
  pass.backend.rms_norm({.x = in.stream,
                         .residual = in.branch,
                         .weight = ffn_norm_.weight,
                         .sum = in.branch ? saved_.x_mid : TensorView{},
                         .y = saved_.u_mid,
                         .rstd = saved_.rstd_mid,
                         .eps = pass.dims.model.norm_eps});
}

void Block::repeat(Pass pass) const {
  pass.again = true;
  switch (pass.dims.recompute) {
    case Recompute::kNone:
    case Recompute::kSegment: return;  // this segment's forward was just now
    case Recompute::kSelective:
      norm(pass, {.stream = saved_.x, .branch = {}});
      mixer_->repeat_elementwise(pass);
      ffn_norm(pass, {.stream = saved_.x_mid, .branch = {}});
      ffn_.repeat_elementwise(pass);
      return;
    case Recompute::kFull:
      norm(pass, {.stream = saved_.x, .branch = {}});
      mixer_->forward(pass, saved_.u, scratch_.branch);
      ffn_norm(pass, {.stream = saved_.x, .branch = scratch_.branch});
      ffn_.hidden(pass, saved_.u_mid);
      return;
  }
}

void Block::backward(const Pass& pass, const TensorView& dx) const {
  repeat(pass);
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
