#include "kernels/ops.h"

#include <cmath>
#include <utility>

#include "kernels/contract.h"

namespace retain {
namespace {

/// The sizes of a retention.
struct Heads {
  int64_t batch, tokens, heads, width;
};

Heads heads_of(const TensorView& x) { return {x.shape[0], x.shape[1], x.shape[2], x.shape[3]}; }

void check_document_start(const Contract& c, const TensorView& document_start, const Heads& s) {
  c.optional("document_start", document_start, DType::kInt32, {s.batch, s.tokens});
}

void check_context(const Contract& c, const RetentionContext& context, const Heads& s) {
  c.required("log2_gamma", context.log2_gamma, DType::kFloat64, {s.heads});
  check_document_start(c, context.document_start, s);
  c.that(s.tokens > 0, "got no tokens, want at least 1");
  c.that(context.chunk >= 0 && context.folded_chunk >= 0, "chunk is ", context.chunk, " and folded_chunk ",
         context.folded_chunk, ", want neither negative");
}

void check_chunk(const Contract& c, const RetentionContext& context) {
  c.that(context.chunk > 0, "chunk is ", context.chunk, ", want at least 1");
  c.that(context.folded_chunk == 0 || context.folded_chunk == context.chunk, "chunk is ", context.chunk,
         ", want folded_chunk ", context.folded_chunk);
}

int64_t chunks_of(int64_t tokens, int64_t chunk) { return (tokens + chunk - 1) / chunk; }

/// The states of all chunks of the sequences whose keys, or queries, are given, if they are there.
void check_chunk_states(const Contract& c, const char* name, const TensorView& states, const TensorView& keys,
                        int64_t value_dim, const RetentionContext& context) {
  const Heads s = heads_of(keys);
  c.optional(name, states, keys.dtype, {s.batch, chunks_of(s.tokens, context.chunk), s.heads, s.width, value_dim});
  c.contiguous(name, states);
}

}  // namespace

void check_copy(const TensorView& dst, const TensorView& src) {
  const auto floating = [](DType t) { return t != DType::kInt32 && t != DType::kUint8; };
  const bool converts = dst.dtype == src.dtype || (floating(dst.dtype) && floating(src.dtype));
  RETAIN_CHECK(dst && src && same_shape(dst, src) && converts, "copy ", src, " to ", dst);
}

void check(const MatmulArgs& a) {
  const Contract c("matmul");
  const DType compute = c.compute("a", a.a, 2);
  const int64_t m = a.a.shape[a.transpose_a ? 1 : 0], k = a.a.shape[a.transpose_a ? 0 : 1];
  c.compute("c", a.c, 2);
  const int64_t n = a.c.shape[1];
  if (a.transpose_b) {
    c.required("b", a.b, compute, {n, k});
  } else {
    c.required("b", a.b, compute, {k, n});
  }
  c.required("c", a.c, a.c.dtype == compute ? compute : accumulate_of(compute), {m, n});
  c.apart("c", a.c, "a", a.a);
  c.apart("c", a.c, "b", a.b);
}

void check(const EmbeddingArgs& a) {
  const Contract c("embedding");
  const DType compute = c.compute("x", a.x, 2);
  c.compute("weight", a.weight, 2);
  c.required("tokens", a.tokens, DType::kInt32, {a.x.shape[0]});
  c.that(bool{a.drawn} == bool{a.places}, "drawn is ", a.drawn ? "given" : "absent", ", want it like places");
  c.optional("drawn", a.drawn, DType::kInt32, {a.drawn.shape[0]});
  c.optional("places", a.places, DType::kInt32, {a.x.shape[0]});
  c.required("weight", a.weight, compute, {a.weight.shape[0], a.x.shape[1]});
  c.apart("x", a.x, "weight", a.weight);
}

void check(const EmbeddingBackwardArgs& a) {
  const Contract c("embedding_backward");
  const DType compute = c.compute("dx", a.dx, 2);
  c.compute("dweight", a.dweight, 2);
  c.required("tokens", a.tokens, DType::kInt32, {a.dx.shape[0]});
  c.required("token_order", a.token_order, DType::kInt32, {a.dx.shape[0]});
  c.required("dweight", a.dweight, accumulate_of(compute), {a.dweight.shape[0], a.dx.shape[1]});
  c.apart("dweight", a.dweight, "dx", a.dx);
}

void check(const RmsNormArgs& a) {
  const Contract c("rms_norm");
  const DType compute = c.compute("x", a.x, 2);
  const int64_t n = a.x.shape[0], d = a.x.shape[1];
  c.optional("residual", a.residual, compute, {n, d});
  c.that(bool{a.sum} == bool{a.residual}, "sum is ", a.sum ? "given" : "absent", ", want it ",
         a.residual ? "given" : "absent", " like residual");
  c.optional("sum", a.sum, compute, {n, d});
  c.required("weight", a.weight, accumulate_of(compute), {d});
  c.required("y", a.y, compute, {n, d});
  c.required("rstd", a.rstd, accumulate_of(compute), {n});
  c.same_or_apart("sum", a.sum, "x", a.x);
  c.same_or_apart("sum", a.sum, "residual", a.residual);
  c.apart("y", a.y, "x", a.x);
  c.apart("y", a.y, "residual", a.residual);
  c.apart("y", a.y, "sum", a.sum);
}

void check(const RmsNormBackwardArgs& a) {
  const Contract c("rms_norm_backward");
  const DType compute = c.compute("dy", a.dy, 2), accumulate = accumulate_of(compute);
  const int64_t n = a.dy.shape[0], d = a.dy.shape[1];
  c.required("x", a.x, compute, {n, d});
  c.required("weight", a.weight, accumulate, {d});
  c.required("rstd", a.rstd, accumulate, {n});
  c.optional("dresidual", a.dresidual, compute, {n, d});
  c.required("dx", a.dx, compute, {n, d});
  c.required("dweight", a.dweight, accumulate, {d});
  c.same_or_apart("dx", a.dx, "dy", a.dy);
  c.same_or_apart("dx", a.dx, "dresidual", a.dresidual);
  c.apart("dx", a.dx, "x", a.x);
  c.apart("dweight", a.dweight, "weight", a.weight);
}

void check(const RotationTableArgs& a) {
  const Contract c("rotation_table");
  const DType accumulate = c.compute("table", a.table, 3);
  c.that(accumulate != DType::kBfloat16, "table is ", a.table, ", want float32 or float64");
  c.required("table", a.table, accumulate, {a.table.shape[0], a.table.shape[1], 2});
  c.contiguous("table", a.table);
  c.required("theta", a.theta, DType::kFloat64, {a.table.shape[1]});
  c.contiguous("theta", a.theta);
  c.optional("positions", a.positions, DType::kInt32, {a.table.shape[0]});
  constexpr int64_t kMost = int64_t{1} << 53;  // positions that float64 tells apart
  c.that(a.offset >= 0 && a.offset <= kMost - a.table.shape[0], "offset is ", a.offset,
         ", want positions in [0, 2^53]");
}

void check(const RotateArgs& a) {
  const Contract c("rotate");
  const DType compute = c.compute("x", a.x, 4);
  const Heads s = heads_of(a.x);
  c.that(s.width % 2 == 0, "x is ", a.x, ", want an even width of a head");
  c.required("y", a.y, compute, {s.batch, s.tokens, s.heads, s.width});
  c.required("table", a.table, accumulate_of(compute), {s.tokens, s.width / 2, 2});
  c.contiguous("table", a.table);
  c.that(a.fold_chunk >= 0, "fold_chunk is ", a.fold_chunk, ", want 0 or more");
  if (a.fold_chunk > 0) {
    c.required("log2_gamma", a.log2_gamma, DType::kFloat64, {s.heads});
    c.that(a.fold_sign == 1 || a.fold_sign == -1, "fold_sign is ", a.fold_sign, ", want 1 or -1");
  }
  c.same_or_apart("y", a.y, "x", a.x);
}

void check(const RetentionArgs& a) {
  const Contract c("retention");
  const DType compute = c.compute("q", a.q, 4), accumulate = accumulate_of(compute);
  c.compute("v", a.v, 4);
  const Heads s = heads_of(a.q);
  const int64_t value = a.v.shape[3];
  check_context(c, a.context, s);
  c.required("k", a.k, compute, {s.batch, s.tokens, s.heads, s.width});
  c.required("v", a.v, compute, {s.batch, s.tokens, s.heads, value});
  c.required("o", a.o, compute, {s.batch, s.tokens, s.heads, value});
  c.optional("state_in", a.state_in, accumulate, {s.batch, s.heads, s.width, value});
  c.contiguous("state_in", a.state_in);
  c.optional("state_out", a.state_out, accumulate, {s.batch, s.heads, s.width, value});
  c.contiguous("state_out", a.state_out);
  if (a.context.form == RetentionForm::kChunkwise) check_chunk(c, a.context);
  if (a.states) {
    c.that(a.context.form == RetentionForm::kChunkwise, "states are given, want that with the chunkwise form only");
    check_chunk_states(c, "states", a.states, a.q, value, a.context);
  }
  c.that(!a.states_given || (a.states && !a.state_out), "states_given with states ", a.states ? "given" : "absent",
         " and state_out ", a.state_out ? "given" : "absent", ", want the states and no state_out");
  c.same_or_apart("state_out", a.state_out, "state_in", a.state_in);
  c.apart("o", a.o, "q", a.q);
  c.apart("o", a.o, "k", a.k);
  c.apart("o", a.o, "v", a.v);
}

void check(const RetentionBackwardArgs& a) {
  const Contract c("retention_backward");
  const DType compute = c.compute("q", a.q, 4), accumulate = accumulate_of(compute);
  c.compute("v", a.v, 4);
  const Heads s = heads_of(a.q);
  const int64_t value = a.v.shape[3];
  check_context(c, a.context, s);
  check_chunk(c, a.context);
  c.required("k", a.k, compute, {s.batch, s.tokens, s.heads, s.width});
  c.required("v", a.v, compute, {s.batch, s.tokens, s.heads, value});
  c.required("dout", a.dout, compute, {s.batch, s.tokens, s.heads, value});
  c.required("dq", a.dq, compute, {s.batch, s.tokens, s.heads, s.width});
  c.required("dk", a.dk, compute, {s.batch, s.tokens, s.heads, s.width});
  c.required("dv", a.dv, compute, {s.batch, s.tokens, s.heads, value});
  check_chunk_states(c, "states", a.states, a.q, value, a.context);
  check_chunk_states(c, "dstates", a.dstates, a.q, value, a.context);
  c.that(!a.dstates || !a.dstate_in, "dstates and dstate_in are given, want one of them");
  const auto state = [&](const char* name, const TensorView& x) {
    c.optional(name, x, accumulate, {s.batch, s.heads, s.width, value});
    c.contiguous(name, x);
  };
  state("state_in", a.state_in);
  state("dstate_out", a.dstate_out);
  state("dstate_in", a.dstate_in);
  c.same_or_apart("dstate_in", a.dstate_in, "dstate_out", a.dstate_out);
  for (const TensorView* gradient : {&a.dq, &a.dk, &a.dv}) {
    for (const TensorView* input : {&a.q, &a.k, &a.v, &a.dout, &a.states, &a.dstates}) {
      c.apart("a gradient", *gradient, "an input", *input);
    }
  }
  c.apart("dq", a.dq, "dk", a.dk);
  c.apart("dq", a.dq, "dv", a.dv);
  c.apart("dk", a.dk, "dv", a.dv);
}

void check(const RetentionStateArgs& a) {
  const Contract c("retention_state");
  const DType compute = c.compute("k", a.k, 4), accumulate = accumulate_of(compute);
  c.compute("v", a.v, 4);
  const Heads s = heads_of(a.k);
  const int64_t value = a.v.shape[3];
  check_context(c, a.context, s);
  check_chunk(c, a.context);
  c.required("v", a.v, compute, {s.batch, s.tokens, s.heads, value});
  c.that(a.state || a.states, "state and states are absent, want at least one");
  for (const auto& [name, x] : {std::pair{"state", a.state}, {"state_in", a.state_in}}) {
    c.optional(name, x, accumulate, {s.batch, s.heads, s.width, value});
    c.contiguous(name, x);
  }
  c.same_or_apart("state", a.state, "state_in", a.state_in);
  check_chunk_states(c, "states", a.states, a.k, value, a.context);
}

void check(const RetentionStateGradientArgs& a) {
  const Contract c("retention_state_gradient");
  const DType compute = c.compute("q", a.q, 4);
  c.compute("dout", a.dout, 4);
  const Heads s = heads_of(a.q);
  const int64_t value = a.dout.shape[3];
  check_context(c, a.context, s);
  check_chunk(c, a.context);
  c.required("dout", a.dout, compute, {s.batch, s.tokens, s.heads, value});
  c.required("dstate", a.dstate, accumulate_of(compute), {s.batch, s.heads, s.width, value});
  c.contiguous("dstate", a.dstate);
  check_chunk_states(c, "dstates", a.dstates, a.q, value, a.context);
}

void check(const RetentionAddStateArgs& a) {
  const Contract c("retention_add_state");
  const DType compute = c.compute("states", a.states, 5);
  const auto& s = a.states.shape;
  check_context(c, a.context, {.batch = s[0], .tokens = a.tokens, .heads = s[2], .width = s[3]});
  check_chunk(c, a.context);
  c.required("states", a.states, compute, {s[0], chunks_of(a.tokens, a.context.chunk), s[2], s[3], s[4]});
  c.contiguous("states", a.states);
  c.required("state", a.state, accumulate_of(compute), {s[0], s[2], s[3], s[4]});
  c.contiguous("state", a.state);
  c.apart("states", a.states, "state", a.state);
}

void check(const SegmentScanArgs& a) {
  const Contract c("segment_scan");
  const DType accumulate = c.compute("gathered", a.gathered, 5);
  c.that(accumulate != DType::kBfloat16, "gathered is ", a.gathered, ", want float32 or float64");
  const auto& s = a.gathered.shape;
  c.required("carry", a.carry, DType::kFloat32, {s[0], s[1]});
  c.required("log2_gamma", a.log2_gamma, DType::kFloat64, {s[2]});
  c.required("state", a.state, accumulate, {s[1], s[2], s[3], s[4]});
  c.optional("boundary", a.boundary, accumulate, {s[1], s[2], s[3], s[4]});
  c.optional("result", a.result, accumulate, {s[1], s[2], s[3], s[4]});
  for (const auto& [name, x] :
       {std::pair{"gathered", a.gathered}, {"state", a.state}, {"boundary", a.boundary}, {"result", a.result}}) {
    c.contiguous(name, x);
  }
  c.that(a.rank >= 0 && a.rank < s[0], "rank is ", a.rank, ", want 0 to ", s[0] - 1);
  c.that(a.segment_tokens > 0, "segment_tokens is ", a.segment_tokens, ", want at least 1");
  c.apart("state", a.state, "gathered", a.gathered);
  c.apart("state", a.state, "boundary", a.boundary);
  c.apart("state", a.state, "result", a.result);
  c.apart("result", a.result, "gathered", a.gathered);
  c.same_or_apart("result", a.result, "boundary", a.boundary);
}

void check(const HeadNormGateArgs& a) {
  const Contract c("head_norm_gate");
  const DType compute = c.compute("o", a.o, 4), accumulate = accumulate_of(compute);
  const Heads s = heads_of(a.o);
  c.required("g", a.g, compute, {s.batch, s.tokens, s.heads, s.width});
  c.optional("weight", a.weight, accumulate, {s.width});
  c.required("y", a.y, compute, {s.batch, s.tokens, s.heads, s.width});
  c.required("rstd", a.rstd, accumulate, {s.batch, s.tokens, s.heads});
  c.contiguous("rstd", a.rstd);
  if (a.eps_kind == GroupNormEps::kRowsum) {
    c.required("log2_gamma", a.log2_gamma, DType::kFloat64, {s.heads});
    check_document_start(c, a.document_start, s);
  }
  c.apart("y", a.y, "o", a.o);
  c.apart("y", a.y, "g", a.g);
}

void check(const RetentionStepArgs& a) {
  const Contract c("retention_step");
  const DType compute = c.compute("q", a.q, 3), accumulate = accumulate_of(compute);
  c.compute("v", a.v, 3);
  const int64_t n = a.q.shape[0], heads = a.q.shape[1], key = a.q.shape[2], value = a.v.shape[2];
  c.that(key % 2 == 0, "q is ", a.q, ", want an even width of a head");
  c.required("k", a.k, compute, {n, heads, key});
  c.required("v", a.v, compute, {n, heads, value});
  c.required("g", a.g, compute, {n, heads, value});
  c.required("y", a.y, compute, {n, heads, value});
  c.required("table", a.table, accumulate, {n, key / 2, 2});
  c.contiguous("table", a.table);
  c.required("log2_gamma", a.log2_gamma, DType::kFloat64, {heads});
  c.optional("weight", a.weight, accumulate, {value});
  c.required("states", a.states, accumulate, {a.states.shape[0], heads, key, value});
  c.contiguous("states", a.states);
  c.required("slots", a.slots, DType::kInt32, {n});
  if (a.eps_kind == GroupNormEps::kRowsum) c.required("positions", a.positions, DType::kInt32, {n});
  for (const TensorView* input : {&a.q, &a.k, &a.v, &a.g}) c.apart("y", a.y, "an input", *input);
}

void check(const ProjectArgs& a) {
  const Contract c("project");
  const DType compute = c.compute("x", a.x, 2);
  c.compute("weight", a.weight, 2);
  const int64_t n = a.x.shape[0], in = a.x.shape[1], out = a.weight.shape[0];
  const bool gated = a.activation && *a.activation != FfnKind::kGelu;
  c.required("weight", a.weight, compute, {out, in});
  c.that(!gated || out % 2 == 0, "weight is ", a.weight, ", want two halves of rows");
  c.required("y", a.y, compute, {n, gated ? out / 2 : out});
  c.that(!a.activation || !a.adds, "an activation adds to y, want one of both");
  if (a.norm) {
    c.required("norm", a.norm, accumulate_of(compute), {in});
    c.required("normed", a.normed, compute, {n, in});
    c.required("rstd", a.rstd, accumulate_of(compute), {n});
  }
  if (a.activation) c.required("product", a.product, compute, {n, out});
  for (const TensorView* other : {&a.x, &a.weight, &a.normed, &a.product}) c.apart("y", a.y, "another", *other);
}

void check(const SampleTokensArgs& a) {
  const Contract c("sample_tokens");
  c.compute("logits", a.logits, 2);
  const int64_t n = a.logits.shape[0], vocab = a.logits.shape[1];
  c.that(vocab > 0 && vocab <= int64_t{1} << 22, "logits are ", a.logits, ", want 1 to 2^22 tokens");
  c.optional("drawable", a.drawable, DType::kUint8, {vocab});
  c.required("options", a.options, DType::kFloat32, {n, 3});
  c.contiguous("options", a.options);
  c.required("top_k", a.top_k, DType::kInt32, {n});
  c.required("keys", a.keys, DType::kInt32, {n, 2});
  c.contiguous("keys", a.keys);
  c.required("positions", a.positions, DType::kInt32, {n});
  c.required("places", a.places, DType::kInt32, {n});
  c.required("tokens", a.tokens, DType::kInt32, {a.tokens.shape[0]});
}

void check(const HeadNormGateBackwardArgs& a) {
  const Contract c("head_norm_gate_backward");
  const DType compute = c.compute("dy", a.dy, 4), accumulate = accumulate_of(compute);
  const Heads s = heads_of(a.dy);
  c.required("o", a.o, compute, {s.batch, s.tokens, s.heads, s.width});
  c.required("g", a.g, compute, {s.batch, s.tokens, s.heads, s.width});
  c.required("rstd", a.rstd, accumulate, {s.batch, s.tokens, s.heads});
  c.contiguous("rstd", a.rstd);
  c.required("dout", a.dout, compute, {s.batch, s.tokens, s.heads, s.width});
  c.required("dg", a.dg, compute, {s.batch, s.tokens, s.heads, s.width});
  c.that(bool{a.weight} == bool{a.dweight}, "dweight is ", a.dweight ? "given" : "absent", ", want it ",
         a.weight ? "given" : "absent", " like weight");
  c.optional("weight", a.weight, accumulate, {s.width});
  c.optional("dweight", a.dweight, accumulate, {s.width});
  c.same_or_apart("dout", a.dout, "dy", a.dy);
  c.same_or_apart("dout", a.dout, "o", a.o);
  c.same_or_apart("dg", a.dg, "g", a.g);
  c.apart("dout", a.dout, "g", a.g);
  c.apart("dg", a.dg, "dy", a.dy);
  c.apart("dg", a.dg, "o", a.o);
  c.apart("dg", a.dg, "dout", a.dout);
}

void check(const FfnActivationArgs& a) {
  const Contract c("ffn_activation");
  const DType compute = c.compute("a", a.a, 2);
  const int64_t n = a.a.shape[0], f = a.a.shape[1];
  const bool gated = a.kind != FfnKind::kGelu;
  c.that(bool{a.b} == gated, "b is ", a.b ? "given" : "absent", ", want it ", gated ? "given" : "absent");
  c.optional("b", a.b, compute, {n, f});
  c.required("h", a.h, compute, {n, f});
  c.apart("h", a.h, "a", a.a);
  c.apart("h", a.h, "b", a.b);
}

void check(const FfnActivationBackwardArgs& a) {
  const Contract c("ffn_activation_backward");
  const DType compute = c.compute("a", a.a, 2);
  const int64_t n = a.a.shape[0], f = a.a.shape[1];
  const bool gated = a.kind != FfnKind::kGelu;
  c.that(bool{a.b} == gated && bool{a.db} == gated, "b is ", a.b ? "given" : "absent", " and db ",
         a.db ? "given" : "absent", ", want both ", gated ? "given" : "absent");
  c.required("dh", a.dh, compute, {n, f});
  c.optional("b", a.b, compute, {n, f});
  c.required("da", a.da, compute, {n, f});
  c.optional("db", a.db, compute, {n, f});
  c.same_or_apart("da", a.da, "a", a.a);
  c.same_or_apart("db", a.db, "b", a.b);
  c.apart("da", a.da, "b", a.b);
  c.apart("da", a.da, "db", a.db);
  c.apart("db", a.db, "a", a.a);
}

namespace {

void check_logits(const Contract& c, const TensorView& logits, const TensorView& targets, int64_t first_column,
                  int64_t valid) {
  c.compute("logits", logits, 2);
  c.required("targets", targets, DType::kInt32, {logits.shape[0]});
  c.that(valid >= 0 && valid <= logits.shape[1], "valid is ", valid, ", want 0 to ", logits.shape[1]);
  c.that(first_column >= 0, "first_column is ", first_column, ", want 0 or more");
}

}  // namespace

void check(const CrossEntropyStatisticsArgs& a) {
  const Contract c("cross_entropy_statistics");
  check_logits(c, a.logits, a.targets, a.first_column, a.valid);
  c.required("statistics", a.statistics, accumulate_of(a.logits.dtype), {a.logits.shape[0], 3});
  c.contiguous("statistics", a.statistics);
}

void check(const CrossEntropyArgs& a) {
  const Contract c("cross_entropy");
  check_logits(c, a.logits, a.targets, a.first_column, a.valid);
  const DType accumulate = accumulate_of(a.logits.dtype);
  if (a.gathered) {
    c.that(a.gathered.rank == 3, "gathered is ", a.gathered, ", want [P,", a.logits.shape[0], ",3]");
    c.required("gathered", a.gathered, accumulate, {a.gathered.shape[0], a.logits.shape[0], 3});
  } else {
    c.that(a.first_column == 0 && a.valid > 0, "first_column is ", a.first_column, " and valid ", a.valid,
           ", want the whole vocabulary when gathered is absent");
  }
  c.required("loss", a.loss, accumulate, {a.logits.shape[0]});
  c.optional("scale", a.scale, DType::kFloat64, {1});
}

void check(const AddArgs& a) {
  const Contract c("add");
  c.that(c.compute("y", a.y, 1) != DType::kBfloat16, "y is ", a.y, ", want float32 or float64");
  c.required("x", a.x, DType::kBfloat16, {a.y.shape[0]});
}

void check(const ReduceArgs& a) {
  const Contract c("reduce");
  c.compute("x", a.x, a.x.rank);
  c.contiguous("x", a.x);
  c.required("out", a.out, DType::kFloat64, {1});
  c.apart("out", a.out, "x", a.x);
}

void check(const ClipScaleArgs& a) {
  const Contract c("clip_scale");
  c.required("sum_of_squares", a.sum_of_squares, DType::kFloat64, {1});
  c.required("norm", a.norm, DType::kFloat64, {1});
  c.required("scale", a.scale, DType::kFloat64, {1});
  c.that(a.max_norm >= 0, "max_norm is ", a.max_norm, ", want 0 (no clipping) or more");
  c.optional("loss", a.loss, DType::kFloat64, {1});
  c.optional("limits", a.limits, DType::kFloat64, {2});
  c.apart("norm", a.norm, "scale", a.scale);
}

void check(const FingerprintArgs& a) {
  const Contract c("fingerprint");
  c.compute("x", a.x, 2);
  c.contiguous("x", a.x);
  c.required("out", a.out, DType::kInt32, {2});
  c.that(reinterpret_cast<uintptr_t>(a.out.data) % sizeof(uint64_t) == 0, "out ", a.out,
         " is not at a multiple of 8 bytes");
}

void check(const AdamwArgs& a) {
  const Contract c("adamw");
  c.compute("weight", a.weight, 1);
  const int64_t n = a.weight.shape[0];
  const DType accumulate = accumulate_of(a.weight.dtype);
  c.required("gradient", a.gradient, accumulate, {n});
  c.required("master", a.master, accumulate, {n});
  c.required("m", a.m, accumulate, {n});
  c.required("v", a.v, accumulate, {n});
  c.required("grad_scale", a.grad_scale, DType::kFloat64, {1});
  c.required("rates", a.rates, DType::kFloat64, {3});
  c.same_or_apart("weight", a.weight, "master", a.master);
}

std::array<double, 3> adamw_rates(double lr, double beta1, double beta2, int64_t step) {
  RETAIN_CHECK(step >= 1, "step is ", step, ", want 1 or more");
  const auto correction = [step](double beta) { return 1 / (1 - std::pow(beta, static_cast<double>(step))); };
  return {lr, correction(beta1), correction(beta2)};
}

void check(const FillNormalArgs& a) {
  const Contract c("fill_normal");
  c.that(c.compute("x", a.x, 2) != DType::kBfloat16, "x is ", a.x, ", want float32 or float64");
  c.that(a.first_row >= 0 && a.first_column >= 0 && a.first_column + a.x.shape[1] <= a.global_columns, "x is ", a.x,
         " at column ", a.first_column, ", want it within ", a.global_columns, " columns");
}

}  // namespace retain
