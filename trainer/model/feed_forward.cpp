#include "trainer/model/feed_forward.h"

#include "trainer/model/linear.h"

namespace retain {

namespace {

TensorView activated(const TensorView& ab, const Dimensions& dims) { return ab.slice(1, 0, dims.ffn_size); }
TensorView linear_branch(const TensorView& ab, const Dimensions& dims) {
  return dims.model.ffn == FfnKind::kGelu ? TensorView{} : ab.slice(1, dims.ffn_size, dims.ffn_size);
}

}  // namespace

FeedForward::FeedForward(const Declarations& declare, const ModelConfig& model) {
  const Declarations ffn = declare.within("ffn.");
  const Scaling scaling = scaling_of(model, WeightRole::kFfnIn, model.hidden_size, model.ffn_size);
  std::vector<Declarations::Rows> in;
  if (model.ffn != FfnKind::kGelu) in.push_back({"gate_proj.weight", model.ffn_size, scaling});
  in.push_back({"up_proj.weight", model.ffn_size, scaling});
  in_ = ffn.adjacent_matrices(in, model.hidden_size);
  down_ = ffn.matrix("down_proj.weight", TpCut::kColumns, model.hidden_size, model.ffn_size,
                     scaling_of(model, WeightRole::kFfnOut, model.ffn_size, model.hidden_size));
}

void FeedForward::take_activations(const ActivationMemory& memory, const Dimensions& dims) {
  saved_ = {.ab = memory.products().take(dims.compute, {dims.rows(), dims.ffn_columns()}),
            .h = memory.elementwise().take(dims.compute, {dims.rows(), dims.ffn_size})};
}

void FeedForward::take_scratch(Arena& arena, const Dimensions& dims, Residency residency) {
  if (residency == Residency::kInference) return;
  gradients_ = {.ab = arena.take(dims.compute, {dims.rows(), dims.ffn_columns()}),
                .h = arena.take(dims.compute, {dims.rows(), dims.ffn_size})};
}

void FeedForward::forward(const Pass& pass, const TensorView& u, const TensorView& f, int64_t chunk) const {
  hidden(pass, u, chunk);
  linear(pass.backend, pass.rows.real(saved_.h, chunk), down_.weight, pass.rows.real(f, chunk));
}

void FeedForward::hidden(const Pass& pass, const TensorView& u, int64_t chunk) const {
  const TensorView ab = pass.rows.real(saved_.ab, chunk);
  linear(pass.backend, pass.rows.real(u, chunk), in_.weight, ab);
  activate(pass, ab, pass.rows.real(saved_.h, chunk));
}

void FeedForward::activate(const Pass& pass, const TensorView& ab, const TensorView& h) {
  pass.backend.ffn_activation(
      {.kind = pass.dims.model.ffn, .a = activated(ab, pass.dims), .b = linear_branch(ab, pass.dims), .h = h});
}

void FeedForward::backward(const Pass& pass, const TensorView& df, const TensorView& du) const {
  linear_input_gradient(pass.backend, df, down_.weight, gradients_.h);
  pass.backend.ffn_activation_backward({.kind = pass.dims.model.ffn,
                                        .dh = gradients_.h,
                                        .a = activated(saved_.ab, pass.dims),
                                        .b = linear_branch(saved_.ab, pass.dims),
                                        .da = activated(gradients_.ab, pass.dims),
                                        .db = linear_branch(gradients_.ab, pass.dims)});
  linear_input_gradient(pass.backend, gradients_.ab, in_.weight, du);
}

void FeedForward::down_gradient(const Pass& pass, const TensorView& df) const {
  linear_weight_gradient(pass.backend, df, saved_.h, down_.gradient, pass.gradients);
}

void FeedForward::in_gradient(const Pass& pass, const TensorView& u) const {
  linear_weight_gradient(pass.backend, gradients_.ab, u, in_.gradient, pass.gradients);
}

}  // namespace retain
