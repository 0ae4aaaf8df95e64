#include "trainer/model/retention.h"

#include <cmath>

#include "trainer/model/linear.h"

namespace retain {

namespace {

// q, k, v, g as [B,T,H,width] views of the columns of one [n, 2HK+2HV] matrix.
struct HeadViews {
  TensorView q, k, v, g;
  HeadViews(const TensorView& qkvg, const Dimensions& dims) {
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
int64_t fold_chunk(const Pass& pass) { return pass.form == RetentionForm::kChunkwise ? pass.dims.fold_chunk : 0; }

}  // namespace

RetentionLayer::RetentionLayer(const Declarations& declare, const ModelConfig& model, int64_t layer,
                               const RetentionTables& tables)
    : layer_(layer), tables_(tables) {
  const int64_t d = model.hidden_size, keys = model.heads * model.key_dim(), values = model.heads * model.value_dim();
  const Declarations retention = declare.within("retention.");
  const auto in = [&](const char* name, int64_t rows) -> Declarations::Rows {
    return {name, rows, scaling_of(model, WeightRole::kRetentionIn, d, rows)};
  };
  qkvg_ = retention.adjacent_matrices(
      {in("q_proj.weight", keys), in("k_proj.weight", keys), in("v_proj.weight", values), in("g_proj.weight", values)},
      d);
  o_ = retention.matrix("o_proj.weight", TpCut::kColumns, d, values,
                        scaling_of(model, WeightRole::kRetentionOut, values, d));
  if (model.group_norm_affine)
    group_norm_ = retention.norm("group_norm.weight", model.value_dim(), ParameterUse::kGroupNorm);
  retention.mixer_flops(12.0 * static_cast<double>(keys * model.value_dim()));
}

void RetentionLayer::take_activations(const ActivationMemory& memory, const Dimensions& dims) {
  const int64_t n = dims.rows(), b = dims.batch.sequences, t = dims.batch.tokens;
  Arena& products = memory.products();
  saved_.qkvg = products.take(dims.compute, {n, dims.qkvg_columns()});
  if (memory.residency() == Residency::kTraining) saved_.states = take_chunk_states(memory.elementwise(), dims);
  saved_.o = products.take(dims.compute, {b, t, dims.heads, dims.value_dim});
  saved_.rstd = products.take(dims.accumulate(), {b, t, dims.heads});
  saved_.y = memory.elementwise().take(dims.compute, {n, dims.values()});
}

void RetentionLayer::take_scratch(Arena& arena, const Dimensions& dims, Residency residency) {
  const int64_t n = dims.rows(), b = dims.batch.sequences, p = dims.batch.parts;
  if (residency == Residency::kTraining) {
    scratch_.dqkvg = arena.take(dims.compute, {n, dims.qkvg_columns()});
    scratch_.dy = arena.take(dims.compute, {n, dims.values()});
  }
  if (p > 1) {
    scratch_.gathered = arena.take(dims.accumulate(), {p, b, dims.heads, dims.key_dim, dims.value_dim});
    scratch_.dstate_out = take_state(arena, dims);
    if (residency == Residency::kTraining) scratch_.dstates = take_chunk_states(arena, dims);
  }
}

TensorView RetentionLayer::take_state(Arena& arena, const Dimensions& dims) const {
  return arena.take(dims.accumulate(), {dims.batch.sequences, dims.heads, dims.key_dim, dims.value_dim});
}

TensorView RetentionLayer::take_chunk_states(Arena& arena, const Dimensions& dims) {
  return arena.take(dims.compute, {dims.batch.sequences, dims.chunks(), dims.heads, dims.key_dim, dims.value_dim});
}

RetentionContext RetentionLayer::retention_context(const Pass& pass) const {
  return {.log2_gamma = tables_.log2_gamma(layer_),
          .document_start = pass.batch.document_start,
          .position_offset = pass.batch.position_offset,
          .folded_chunk = fold_chunk(pass),
          .form = pass.form,
          .chunk = pass.dims.chunk};
}

void RetentionLayer::rotate(const Pass& pass, const TensorView& x, bool inverse, double scale, int fold_sign) const {
  pass.backend.rotate({.x = x,
                       .y = x,
                       .table = tables_.rotation(),
                       .log2_gamma = tables_.log2_gamma(layer_),
                       .inverse = inverse,
                       .scale = scale,
                       .fold_chunk = fold_chunk(pass),
                       .fold_sign = fold_sign});
}

void RetentionLayer::project(const Pass& pass, const TensorView& u, int64_t chunk, Range columns) const {
  linear(pass.backend, pass.rows.real(u, chunk), qkvg_.weight.slice(0, columns.begin, columns.size()),
         pass.rows.real(saved_.qkvg, chunk).slice(1, columns.begin, columns.size()));
}

// What the ranks of cp wait for comes before the gate.
int64_t RetentionLayer::early_columns(const Pass& pass) const {
  const int64_t all = pass.dims.qkvg_columns();
  return pass.cp.size() > 1 ? all - pass.dims.values() : all;
}

void RetentionLayer::enter(const Pass& pass, const TensorView& u, int64_t chunk) const {
  project(pass, u, chunk, {0, early_columns(pass)});
}

void RetentionLayer::mix(const Pass& pass, const TensorView& u) const {
  const Dimensions& dims = pass.dims;
  const HeadViews heads(saved_.qkvg, dims);
  const bool cut = pass.cp.size() > 1;

  // What other ranks need of this one's part leaves as early as it can and arrives under the gate's product. The
  // rotation of q comes first: a collective starts between its short blocks, where a product might hold it up.
  rotate(pass, heads.k, false, 1.0 / std::sqrt(static_cast<double>(dims.key_dim)), -1);
  SegmentExchange exchange = begin_states(pass);
  rotate(pass, heads.q, false, 1.0, +1);
  for (int64_t chunk = 0; cut && chunk < pass.rows.chunks(); ++chunk) {
    project(pass, u, chunk, {early_columns(pass), dims.qkvg_columns()});
  }

  const TensorView chunks = chunk_states(pass);
  pass.backend.retention({.context = retention_context(pass),
                          .q = heads.q,
                          .k = heads.k,
                          .v = heads.v,
                          .state_in = exchange.finish(),
                          .o = saved_.o,
                          .state_out = cut ? TensorView{} : states(pass).out,
                          .states = chunks,
                          .states_given = cut && chunks});
  gate(pass);
}

void RetentionLayer::leave(const Pass& pass, const TensorView& z, int64_t chunk) const {
  linear(pass.backend, pass.rows.real(saved_.y, chunk), o_.weight, pass.rows.real(z, chunk));
}

TensorView RetentionLayer::chunk_states(const Pass& pass) const {
  return pass.form == RetentionForm::kChunkwise ? saved_.states : TensorView{};
}

TensorView RetentionLayer::state_in(const Pass& pass) const {
  return pass.cp.size() > 1 ? states(pass).part_in : states(pass).in;
}

SegmentExchange RetentionLayer::begin_states(const Pass& pass) const {
  const HeadViews heads(saved_.qkvg, pass.dims);
  return pass.cp.begin_states(
      pass.backend, {.context = retention_context(pass), .k = heads.k, .v = heads.v, .states = chunk_states(pass)},
      {.carry = pass.batch.carry,
       .segment_tokens = pass.dims.batch.tokens,
       .gathered = scratch_.gathered,
       .state = states(pass).part_in,
       .boundary = states(pass).in,
       .result = states(pass).out,
       .arrived = pass.again});
}

SegmentExchange RetentionLayer::begin_gradients(const Pass& pass, const TensorView& q, const TensorView& dout) const {
  return pass.cp.begin_gradients(
      pass.backend, {.context = retention_context(pass), .q = q, .dout = dout, .dstates = scratch_.dstates},
      {.carry = pass.batch.carry,
       .segment_tokens = pass.dims.batch.tokens,
       .gathered = scratch_.gathered,
       .state = scratch_.dstate_out,
       .boundary = states(pass).dstate_out,
       .result = states(pass).dstate_in});
}

void RetentionLayer::repeat_elementwise(const Pass& pass) const {
  if (pass.cp.size() > 1) {
    begin_states(pass).finish();
  } else {
    const HeadViews heads(saved_.qkvg, pass.dims);
    pass.backend.retention_state({.context = retention_context(pass),
                                  .k = heads.k,
                                  .v = heads.v,
                                  .state_in = state_in(pass),
                                  .states = chunk_states(pass)});
  }
  gate(pass);
}

void RetentionLayer::gate(const Pass& pass) const {
  const Dimensions& dims = pass.dims;
  pass.backend.head_norm_gate(
      {.o = saved_.o,
       .g = HeadViews(saved_.qkvg, dims).g,
       .weight = group_norm_.weight,
       .log2_gamma = tables_.log2_gamma(layer_),
       .document_start = pass.batch.document_start,
       .y = saved_.y.split(1, dims.heads, dims.value_dim).split(0, dims.batch.sequences, dims.batch.tokens),
       .rstd = saved_.rstd,
       .position_offset = pass.batch.position_offset,
       .eps_kind = dims.model.group_norm_eps,
       .eps = dims.model.head_eps()});
}

void RetentionLayer::backward(const Pass& pass, const TensorView& dz, const TensorView& u, const TensorView& du) const {
  const Dimensions& dims = pass.dims;
  const HeadViews heads(saved_.qkvg, dims);
  const HeadViews gradients(scratch_.dqkvg, dims);

  linear_input_gradient(pass.backend, dz, o_.weight, scratch_.dy);

  // dy becomes the gradient of o in place.
  const TensorView dout =
      scratch_.dy.split(1, dims.heads, dims.value_dim).split(0, dims.batch.sequences, dims.batch.tokens);
  pass.backend.head_norm_gate_backward({.dy = dout,
                                        .o = saved_.o,
                                        .g = heads.g,
                                        .weight = group_norm_.weight,
                                        .rstd = saved_.rstd,
                                        .dout = dout,
                                        .dg = gradients.g,
                                        .dweight = group_norm_.gradient});

  // As in the forward: what other ranks need leaves, and arrives under the gate's weight gradient.
  SegmentExchange exchange = begin_gradients(pass, heads.q, dout);
  if (early_columns(pass) < dims.qkvg_columns()) project_gradient(pass, u, {early_columns(pass), dims.qkvg_columns()});
  pass.backend.retention_backward({.context = retention_context(pass),
                                   .q = heads.q,
                                   .k = heads.k,
                                   .v = heads.v,
                                   .state_in = state_in(pass),
                                   .states = chunk_states(pass),
                                   .dout = dout,
                                   .dstate_out = exchange.finish(),
                                   .dq = gradients.q,
                                   .dk = gradients.k,
                                   .dv = gradients.v,
                                   .dstate_in = pass.cp.size() > 1 ? TensorView{} : states(pass).dstate_in,
                                   .dstates = scratch_.dstates});

  rotate(pass, gradients.k, true, 1.0 / std::sqrt(static_cast<double>(dims.key_dim)), -1);
  rotate(pass, gradients.q, true, 1.0, +1);
  linear_input_gradient(pass.backend, scratch_.dqkvg, qkvg_.weight, du);
}

void RetentionLayer::project_gradient(const Pass& pass, const TensorView& u, Range columns) const {
  linear_weight_gradient(pass.backend, scratch_.dqkvg.slice(1, columns.begin, columns.size()), u,
                         qkvg_.gradient.slice(0, columns.begin, columns.size()), pass.gradients);
}

void RetentionLayer::leave_gradient(const Pass& pass, const TensorView& dz) const {
  linear_weight_gradient(pass.backend, dz, saved_.y, o_.gradient, pass.gradients);
}

void RetentionLayer::enter_gradient(const Pass& pass, const TensorView& u) const {
  project_gradient(pass, u, {0, early_columns(pass)});
}

}  // namespace retain
