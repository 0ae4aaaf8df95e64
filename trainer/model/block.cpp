#include "trainer/model/block.h"

#include <utility>

namespace retain {

Block::Block(const Declarations& declare, const ModelConfig& model, std::unique_ptr<Mixer> mixer)
    : mixer_(std::move(mixer)),
      norm_(declare, mixer_->name() + std::string("_norm.weight"), model),
      ffn_norm_(declare, "ffn_norm.weight", model),
      ffn_(declare, model) {}

void Block::take_memory(Arena& own, Arena& shared, const Dimensions& dims, Residency residency) {
  take_activations(ActivationMemory(own, shared, dims, residency), dims);
  take_scratch(shared, dims, residency);
}

void Block::take_activations(const ActivationMemory& memory, const Dimensions& dims) {
  norm_.take_memory(memory.inputs(), memory.products(), memory.elementwise(), dims);
  ffn_norm_.take_memory(memory.products(), memory.products(), memory.elementwise(), dims);
  mixer_->take_activations(memory, dims);
  ffn_.take_activations(memory, dims);
}

void Block::take_scratch(Arena& arena, const Dimensions& dims, Residency residency) {
  const auto take = [&] { return arena.take(dims.compute, {dims.padded_rows(), dims.model.hidden_size}); };
  scratch_.branch = take();
  if (residency == Residency::kTraining) scratch_.du = take();
  // The mixer and the FFN are never at work at the same time: they share memory.
  Arena mixer_part = arena, ffn_part = arena;
  mixer_->take_scratch(mixer_part, dims, residency);
  ffn_.take_scratch(ffn_part, dims, residency);
  arena = mixer_part.used_bytes() > ffn_part.used_bytes() ? mixer_part : ffn_part;
}

std::vector<RowStage> Block::before_mixing(const Pass& pass, const Residual& in) const {
  return {[&pass, in, this](int64_t chunk) { return norm_.forward(pass, in, chunk); }, enter(pass)};
}

RowStage Block::enter(const Pass& pass) const {
  return [&pass, this](int64_t chunk) {
    mixer_->enter(pass, norm_.u(), chunk);
    return Pending{};
  };
}

std::vector<RowStage> Block::after_mixing(const Pass& pass) const {
  std::vector<RowStage> stages = leave(pass);
  stages.push_back([&pass, this](int64_t chunk) {
    ffn_.forward(pass, ffn_norm_.u(), scratch_.branch, chunk);
    return pass.rows.begin_reduce(scratch_.branch, chunk);
  });
  return stages;
}

std::vector<RowStage> Block::leave(const Pass& pass) const {
  return {[&pass, this](int64_t chunk) {
            mixer_->leave(pass, scratch_.branch, chunk);
            return pass.rows.begin_reduce(scratch_.branch, chunk);
          },
          [&pass, this](int64_t chunk) {
            return ffn_norm_.forward(pass, {.stream = norm_.x(), .branch = scratch_.branch}, chunk);
          }};
}

void Block::repeat(Pass pass) const {
  pass.again = true;
  switch (pass.dims.recompute) {
    case Recompute::kNone:
    case Recompute::kSegment: return;  // this segment's forward was just now
    case Recompute::kSelective: return repeat_elementwise(pass);
    case Recompute::kFull: return repeat_forward(pass);
  }
}

void Block::repeat_elementwise(const Pass& pass) const {
  RowExchange gathered;
  for (int64_t chunk = 0; chunk < pass.rows.chunks(); ++chunk) {
    gathered.add(norm_.repeat(pass, chunk));
    gathered.add(ffn_norm_.repeat(pass, chunk));
  }
  mixer_->repeat_elementwise(pass);
  ffn_.repeat_elementwise(pass);
  gathered.wait();
}

void Block::repeat_forward(const Pass& pass) const {
  pass.rows.run(std::vector<RowStage>{[&](int64_t chunk) { return norm_.repeat(pass, chunk); }, enter(pass)});
  mix(pass);
  std::vector<RowStage> stages = leave(pass);
  stages.push_back([&](int64_t chunk) {
    ffn_.hidden(pass, ffn_norm_.u(), chunk);
    return Pending{};
  });
  pass.rows.run(stages);
}

void Block::backward(const Pass& pass, const TensorView& dx) const {
  // The gradients of weights, which nobody waits for, are computed while that of the stream is exchanged.
  const TensorView dz = pass.rows.real(dx), du = pass.rows.real(scratch_.du);
  ffn_.backward(pass, dz, du);
  RowExchange reduced = pass.rows.begin_reduce(scratch_.du);
  ffn_.down_gradient(pass, dz);
  RowExchange gathered = ffn_norm_.backward(pass, std::move(reduced), scratch_.du, dx, true);
  ffn_.in_gradient(pass, pass.rows.real(ffn_norm_.u()));
  gathered.wait();

  mixer_->backward(pass, dz, pass.rows.real(norm_.u()), du);
  reduced = pass.rows.begin_reduce(scratch_.du);
  mixer_->leave_gradient(pass, dz);
  gathered = norm_.backward(pass, std::move(reduced), scratch_.du, dx, true);
  mixer_->enter_gradient(pass, pass.rows.real(norm_.u()));
  gathered.wait();
}

}  // namespace retain
