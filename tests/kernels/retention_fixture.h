// A retention problem on a backend: operands and gradients as column slices of wide matrices, as the model keeps them.
#pragma once

#include <cmath>
#include <utility>

#include "tests/kernels/retention_oracle.h"
#include "tests/support/backends.h"

namespace retain::test {

struct RetentionSizes {
  int64_t batch, tokens, heads, key_dim, value_dim;
};

class RetentionTest : public BackendTest {
 protected:
  /// Random operands already rounded to the compute type. With `state`, states and their gradients are given.
  RetentionProblem problem(const RetentionSizes& s, bool state, int64_t position_offset = 0,
                           const std::vector<int64_t>& documents = {}) {
    RetentionProblem p;
    p.batch = s.batch, p.tokens = s.tokens, p.heads = s.heads, p.key_dim = s.key_dim, p.value_dim = s.value_dim;
    p.position_offset = position_offset;
    p.log2_gamma = log2_gammas(s.heads);
    const int64_t rows = s.batch * s.tokens * s.heads;
    p.q = rounded(compute(), random_values(rows * s.key_dim, 1));
    p.k = rounded(compute(), random_values(rows * s.key_dim, 2, 1 / std::sqrt(static_cast<double>(s.key_dim))));
    p.v = rounded(compute(), random_values(rows * s.value_dim, 3));
    p.dout = rounded(compute(), random_values(rows * s.value_dim, 4));
    if (state) {
      p.state_in = rounded(accumulate(), random_values(p.states(), 5));
      p.dstate_out = rounded(accumulate(), random_values(p.states(), 6));
    }
    if (!documents.empty()) p.document_start = document_starts(s.batch, s.tokens, position_offset, documents);
    return p;
  }

  /// q, k, v, and a fourth block of V columns as wide as v, side by side in one matrix.
  struct Operands {
    DeviceTensor matrix;
    TensorView q, k, v, g;
  };
  Operands operands(const RetentionProblem& p) {
    const int64_t keys = p.heads * p.key_dim, values = p.heads * p.value_dim;
    Operands x{activation({p.batch, p.tokens, 2 * keys + 2 * values}), {}, {}, {}, {}};
    x.q = x.matrix.view().slice(2, 0, keys).split(2, p.heads, p.key_dim);
    x.k = x.matrix.view().slice(2, keys, keys).split(2, p.heads, p.key_dim);
    x.v = x.matrix.view().slice(2, 2 * keys, values).split(2, p.heads, p.value_dim);
    x.g = x.matrix.view().slice(2, 2 * keys + values, values).split(2, p.heads, p.value_dim);
    return x;
  }
  Operands filled_operands(const RetentionProblem& p) {
    Operands x = operands(p);
    write(backend(), x.q, p.q);
    write(backend(), x.k, p.k);
    write(backend(), x.v, p.v);
    write(backend(), x.g, p.dout);
    return x;
  }

  /// What stays on the device while a problem is worked on.
  struct Context {
    DeviceTensor log2_gamma, document_start;
    RetentionContext args;
  };
  Context context(const RetentionProblem& p, RetentionForm form, int64_t chunk) {
    const bool documents = !p.document_start.empty();
    Context c{doubles({p.heads}, p.log2_gamma),
              integers({p.batch, p.tokens}, documents ? p.document_start : Values(p.batch * p.tokens, 0.0)),
              {}};
    c.args.log2_gamma = c.log2_gamma;
    if (documents) c.args.document_start = c.document_start;
    c.args.position_offset = p.position_offset;
    c.args.form = form;
    c.args.chunk = chunk;
    return c;
  }

  std::vector<int64_t> state_shape(const RetentionProblem& p) const {
    return {p.batch, p.heads, p.key_dim, p.value_dim};
  }

  RetentionResult run(const RetentionProblem& p, RetentionForm form, int64_t chunk) {
    const Operands x = filled_operands(p), y = operands(p);
    const Context c = context(p, form, chunk);
    const DeviceTensor state_out = accumulator(state_shape(p));
    RetentionArgs args{.context = c.args, .q = x.q, .k = x.k, .v = x.v, .o = y.g, .state_out = state_out};
    const DeviceTensor state_in =
        accumulator(state_shape(p), p.state_in.empty() ? Values(p.states(), 0.0) : p.state_in);
    if (!p.state_in.empty()) args.state_in = state_in;
    backend().retention(args);
    return {read(backend(), y.g), state_out.values()};
  }

  /// With `saved`, the states come from a forward; otherwise the backward computes them again.
  RetentionGradient run_backward(const RetentionProblem& p, int64_t chunk, bool saved) {
    const Operands x = filled_operands(p), dx = operands(p);
    const Context c = context(p, RetentionForm::kChunkwise, chunk);
    const bool state = !p.state_in.empty();
    const DeviceTensor state_in = accumulator(state_shape(p), state ? p.state_in : Values(p.states(), 0.0));
    const DeviceTensor dstate_out = accumulator(state_shape(p), state ? p.dstate_out : Values(p.states(), 0.0));
    const DeviceTensor dstate_in = accumulator(state_shape(p));
    const int64_t chunks = (p.tokens + chunk - 1) / chunk;
    const DeviceTensor states = activation({p.batch, chunks, p.heads, p.key_dim, p.value_dim});
    RetentionBackwardArgs args{.context = c.args,
                               .q = x.q,
                               .k = x.k,
                               .v = x.v,
                               .dout = x.g,
                               .dq = dx.q,
                               .dk = dx.k,
                               .dv = dx.v,
                               .dstate_in = dstate_in};
    if (state) {
      args.state_in = state_in;
      args.dstate_out = dstate_out;
    }
    if (saved) {
      args.states = states;
      RetentionArgs forward{
          .context = c.args, .q = x.q, .k = x.k, .v = x.v, .state_in = args.state_in, .o = dx.g, .states = states};
      backend().retention(forward);
    }
    backend().retention_backward(args);
    return {read(backend(), dx.q), read(backend(), dx.k), read(backend(), dx.v), dstate_in.values()};
  }

  /// Both directions from states of the chunks that are there before: computed from zero, and what comes in added to
  /// them. What the segment leaves is that from zero. `unfold` takes the decay out of dq and dk.
  template <class Unfold>
  std::pair<RetentionResult, RetentionGradient> run_from_states(const RetentionProblem& p, const Operands& x,
                                                                const RetentionContext& context, const Unfold& unfold) {
    const Operands y = operands(p), dx = operands(p);
    const std::vector<int64_t> shape = {p.batch, (p.tokens + context.chunk - 1) / context.chunk, p.heads, p.key_dim,
                                        p.value_dim};
    const DeviceTensor states = activation(shape), dstates = activation(shape);
    const DeviceTensor state = accumulator(state_shape(p)), dstate = accumulator(state_shape(p));
    TensorView state_in, dstate_out;
    const bool comes_in = !p.state_in.empty();
    const DeviceTensor before = accumulator(state_shape(p), comes_in ? p.state_in : Values(p.states(), 0.0));
    const DeviceTensor behind = accumulator(state_shape(p), comes_in ? p.dstate_out : Values(p.states(), 0.0));
    if (comes_in) {
      state_in = before;
      dstate_out = behind;
    }
    backend().retention_state({.context = context, .k = x.k, .v = x.v, .state = state, .states = states});
    backend().retention_state_gradient(
        {.context = context, .q = x.q, .dout = x.g, .dstate = dstate, .dstates = dstates});
    if (comes_in) {
      backend().retention_add_state({.context = context, .state = state_in, .states = states, .tokens = p.tokens});
      backend().retention_add_state(
          {.context = context, .state = dstate_out, .states = dstates, .tokens = p.tokens, .reverse = true});
    }
    for (const double element : states.values()) EXPECT_TRUE(std::isfinite(element)) << "states";
    for (const double element : dstates.values()) EXPECT_TRUE(std::isfinite(element)) << "dstates";
    backend().retention({.context = context,
                         .q = x.q,
                         .k = x.k,
                         .v = x.v,
                         .state_in = state_in,
                         .o = y.g,
                         .states = states,
                         .states_given = true});
    backend().retention_backward({.context = context,
                                  .q = x.q,
                                  .k = x.k,
                                  .v = x.v,
                                  .state_in = state_in,
                                  .states = states,
                                  .dout = x.g,
                                  .dstate_out = dstate_out,
                                  .dq = dx.q,
                                  .dk = dx.k,
                                  .dv = dx.v,
                                  .dstates = dstates});
    unfold(dx);
    return {{read(backend(), y.g), state.values()},
            {read(backend(), dx.q), read(backend(), dx.k), read(backend(), dx.v), dstate.values()}};
  }
  std::pair<RetentionResult, RetentionGradient> run_from_states(const RetentionProblem& p, int64_t chunk) {
    const Operands x = filled_operands(p);
    const Context c = context(p, RetentionForm::kChunkwise, chunk);
    return run_from_states(p, x, c.args, [](const Operands&) {});
  }
  /// What run_from_states() gives, by the definition.
  static std::pair<RetentionResult, RetentionGradient> from_states_oracle(RetentionProblem p) {
    std::pair<RetentionResult, RetentionGradient> want{retention_oracle(p), retention_gradient_oracle(p)};
    p.state_in.clear();
    p.dstate_out.clear();
    want.first.state_out = retention_state_oracle(p);
    want.second.dstate_in = retention_dstate_oracle(p);
    return want;
  }

  /// The states that a segment computes with what comes in, for a backward that has not kept them.
  RetentionResult run_from_states_again(const RetentionProblem& p, const Operands& x, const RetentionContext& context) {
    const Operands y = operands(p);
    const DeviceTensor states =
        activation({p.batch, (p.tokens + context.chunk - 1) / context.chunk, p.heads, p.key_dim, p.value_dim});
    const DeviceTensor before = accumulator(state_shape(p), p.state_in.empty() ? Values(p.states(), 0.0) : p.state_in);
    const TensorView state_in = p.state_in.empty() ? TensorView{} : before.view();
    RetentionStateArgs args{.context = context, .k = x.k, .v = x.v, .state_in = state_in, .states = states};
    backend().retention_state(args);  // without the state that it leaves
    backend().retention({.context = context,
                         .q = x.q,
                         .k = x.k,
                         .v = x.v,
                         .state_in = state_in,
                         .o = y.g,
                         .states = states,
                         .states_given = true});
    const DeviceTensor state = accumulator(state_shape(p));
    args.state = state;
    args.states = {};
    backend().retention_state(args);
    return {read(backend(), y.g), state.values()};
  }

  void expect_same(const RetentionResult& got, const RetentionResult& want) {
    expect_close("o", got.o, want.o);
    expect_close("state_out", got.state_out, want.state_out);
  }
  void expect_same(const RetentionGradient& got, const RetentionGradient& want) {
    expect_close("dq", got.dq, want.dq);
    expect_close("dk", got.dk, want.dk);
    expect_close("dv", got.dv, want.dv);
    expect_close("dstate_in", got.dstate_in, want.dstate_in);
  }

  /// Chunks worth trying: any on CPU; on CUDA those that the kernels are made for.
  std::vector<int64_t> chunks() const {
    return GetParam().cuda ? std::vector<int64_t>{64, 128} : std::vector<int64_t>{1, 7, 16, 64, 300};
  }

  /// claim(problem) for odd sizes, with and without documents and incoming state, named in failures.
  template <class Claim>
  void for_each_problem(const Claim& claim) {
    const std::vector<RetentionSizes> all = {
        {1, 1, 1, 6, 10}, {2, 63, 3, 6, 10}, {2, 100, 3, 60, 128}, {1, 257, 20, 6, 10}, {1, 257, 1, 64, 128}};
    for (const RetentionSizes& s : all) {
      for (const bool state : {false, true}) {
        for (const bool documents : {false, true}) {
          SCOPED_TRACE(concat("T=", s.tokens, " H=", s.heads, " K=", s.key_dim, " V=", s.value_dim,
                              state ? ", with state" : "", documents ? ", with documents" : ""));
          constexpr int64_t kOffset = 1000;
          claim(documents ? problem(s, state, kOffset, {0, kOffset - 5, kOffset + 20, kOffset + 64, kOffset + 90})
                          : problem(s, state));
        }
      }
    }
  }
};

}  // namespace retain::test
