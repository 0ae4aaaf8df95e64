#include "trainer/model/retention.h"

#include <cmath>

#include "trainer/model/linear.h"

namespace retain {

namespace {

// q, k, v, g as [B,T,H,width] views of the columns of one [n, 2HK+2HV] matrix.
struct Heads {
  TensorView q, k, v, g;
  Heads(const TensorView& qkvg, const Dimensions& dims) {
    const int64_t keys = dims.keys(), values = dims.values();
    const auto view = [&](int64_t column, int64_t width) {
      return qkvg.slice(1, column, width)
          .split(1, dims.heads, width / dims.heads)
          .split(0, dims.batch.sequences, dims.batch.tokens);
    };
    q = view(0, keys);
    k = view(keys, keys);
    v = view(2 * keys, values);
    g = view(2 * keys + values, values);
  }
};

// Only the chunkwise form works on operands that carry the decay.
int64_t fold_chunk(const Context& ctx) { return ctx.form == RetentionForm::kChunkwise ? ctx.dims.fold_chunk : 0; }

void rotate(const Context& ctx, const TensorView& x, bool inverse, double scale, int fold_sign) {
  ctx.backend.rotate({.x = x,
                      .y = x,
                      .table = ctx.tables.rotation,
                      .log2_gamma = ctx.tables.log2_gamma,
                      .inverse = inverse,
                      .scale = scale,
                      .fold_chunk = fold_chunk(ctx),
                      .fold_sign = fold_sign});
}

SegmentJoin segment_join(const Context& ctx, const RetentionLayer::Scratch& scratch, const TensorView& state) {
  return {
      .carry = ctx.batch.carry, .segment_tokens = ctx.dims.batch.tokens, .gathered = scratch.gathered, .state = state};
}

}  // namespace

RetentionLayer::Saved RetentionLayer::take_saved(Arena& arena, const Dimensions& dims, Residency residency) {
  const int64_t n = dims.rows(), b = dims.batch.sequences, t = dims.batch.tokens;
  Saved saved;
  saved.qkvg = arena.take(dims.compute, {n, dims.qkvg_columns()});
  if (residency == Residency::kTraining) {
    saved.states = arena.take(dims.compute, {b, dims.chunks(), dims.heads, dims.key_dim, dims.value_dim});
  }
  if (dims.batch.segments > 1)
    saved.state_in = arena.take(dims.accumulate(), {b, dims.heads, dims.key_dim, dims.value_dim});
  saved.o = arena.take(dims.compute, {b, t, dims.heads, dims.value_dim});
  saved.rstd = arena.take(dims.accumulate(), {b, t, dims.heads});
  saved.y = arena.take(dims.compute, {n, dims.values()});
  return saved;
}

RetentionLayer::Scratch RetentionLayer::take_scratch(Arena& arena, const Dimensions& dims, Residency residency) {
  const int64_t n = dims.rows(), b = dims.batch.sequences, p = dims.batch.segments;
  Scratch scratch;
  if (residency == Residency::kTraining) {
    scratch.dqkvg = arena.take(dims.compute, {n, dims.qkvg_columns()});
    scratch.dy = arena.take(dims.compute, {n, dims.values()});
  }
  if (p > 1) {
    scratch.gathered = arena.take(dims.accumulate(), {p, b, dims.heads, dims.key_dim, dims.value_dim});
    scratch.dstate_out = arena.take(dims.accumulate(), {b, dims.heads, dims.key_dim, dims.value_dim});
  }
  return scratch;
}

RetentionLayer::RetentionLayer(const ParameterStore& parameters, int64_t layer, Residency residency) : layer_(layer) {
  const std::string prefix = "layers." + std::to_string(layer) + ".retention.";
  const std::string first = prefix + "q_proj.weight", last = prefix + "g_proj.weight", o = prefix + "o_proj.weight";
  const std::string norm = prefix + "group_norm.weight";
  const bool affine = parameters.layout().has(norm);
  qkvg_weight_ = parameters.fused_weight(first, last);
  o_weight_ = parameters.weight(o);
  if (affine) group_norm_weight_ = parameters.norm_weight(norm);
  if (residency == Residency::kInference) return;
  qkvg_gradient_ = parameters.fused_gradient(first, last);
  o_gradient_ = parameters.gradient(o);
  if (affine) group_norm_gradient_ = parameters.gradient(norm);
}

RetentionContext RetentionLayer::retention_context(const Context& ctx) const {
  return {.log2_gamma = ctx.tables.log2_gamma,
          .document_start = ctx.batch.document_start,
          .position_offset = ctx.batch.position_offset,
          .folded_chunk = fold_chunk(ctx),
          .form = ctx.form,
          .chunk = ctx.dims.chunk};
}

void RetentionLayer::forward(const Context& ctx, const TensorView& u, const TensorView& z, Saved& saved,
                             const Scratch& scratch) const {
  const Dimensions& dims = ctx.dims;
  const Heads heads(saved.qkvg, dims);
  const RetentionContext context = retention_context(ctx);

  linear(ctx.backend, u, qkvg_weight_, saved.qkvg);
  rotate(ctx, heads.q, false, 1.0, +1);
  rotate(ctx, heads.k, false, 1.0 / std::sqrt(static_cast<double>(dims.key_dim)), -1);

  TensorView state_in, state_out;
  if (ctx.carried) {
    state_in = ctx.carried->in[layer_];
    state_out = ctx.carried->out[layer_];
  } else {
    state_in = ctx.cp.incoming_state(ctx.backend, {.context = context, .k = heads.k, .v = heads.v, .state = {}},
                                     segment_join(ctx, scratch, saved.state_in));
  }
  ctx.backend.retention({.context = context,
                         .q = heads.q,
                         .k = heads.k,
                         .v = heads.v,
                         .state_in = state_in,
                         .o = saved.o,
                         .state_out = state_out,
                         .states = ctx.form == RetentionForm::kChunkwise ? saved.states : TensorView{}});

  ctx.backend.head_norm_gate(
      {.o = saved.o,
       .g = heads.g,
       .weight = group_norm_weight_,
       .log2_gamma = ctx.tables.log2_gamma,
       .document_start = ctx.batch.document_start,
       .y = saved.y.split(1, dims.heads, dims.value_dim).split(0, dims.batch.sequences, dims.batch.tokens),
       .rstd = saved.rstd,
       .position_offset = ctx.batch.position_offset,
       .eps_kind = dims.model.group_norm_eps,
       .eps = dims.model.norm_eps});
  linear(ctx.backend, saved.y, o_weight_, z);
  ctx.tp.all_reduce(z);
}

void RetentionLayer::backward(const Context& ctx, const TensorView& dz, const TensorView& u, const Saved& saved,
                              const Scratch& scratch, const TensorView& du) const {
  const Dimensions& dims = ctx.dims;
  const Heads heads(saved.qkvg, dims);
  const Heads gradients(scratch.dqkvg, dims);
  const RetentionContext context = retention_context(ctx);

  linear_weight_gradient(ctx.backend, dz, saved.y, o_gradient_, ctx.gradients);
  linear_input_gradient(ctx.backend, dz, o_weight_, scratch.dy);

  // dy becomes the gradient of o in place.
  const TensorView dout =
      scratch.dy.split(1, dims.heads, dims.value_dim).split(0, dims.batch.sequences, dims.batch.tokens);
  ctx.backend.head_norm_gate_backward({.dy = dout,
                                       .o = saved.o,
                                       .g = heads.g,
                                       .weight = group_norm_weight_,
                                       .rstd = saved.rstd,
                                       .dout = dout,
                                       .dg = gradients.g,
                                       .dweight = group_norm_gradient_});

  const TensorView dstate_out =
      ctx.cp.outgoing_gradient(ctx.backend, {.context = context, .q = heads.q, .dout = dout, .dstate = {}},
                               segment_join(ctx, scratch, scratch.dstate_out));
  ctx.backend.retention_backward({.context = context,
                                  .q = heads.q,
                                  .k = heads.k,
                                  .v = heads.v,
                                  .state_in = saved.state_in,
                                  .states = ctx.form == RetentionForm::kChunkwise ? saved.states : TensorView{},
                                  .dout = dout,
                                  .dstate_out = dstate_out,
                                  .dq = gradients.q,
                                  .dk = gradients.k,
                                  .dv = gradients.v});

  rotate(ctx, gradients.k, true, 1.0 / std::sqrt(static_cast<double>(dims.key_dim)), -1);
  rotate(ctx, gradients.q, true, 1.0, +1);
  linear_weight_gradient(ctx.backend, scratch.dqkvg, u, qkvg_gradient_, ctx.gradients);
  linear_input_gradient(ctx.backend, scratch.dqkvg, qkvg_weight_, du);
  ctx.tp.all_reduce(du);
}

}  // namespace retain
