#include "kernels/retention_plan.h"
#include "tests/kernels/retention_fixture.h"

namespace retain::test {
namespace {

class Retention : public RetentionTest {
 protected:
  void expect_folded(const RetentionProblem& p, int64_t chunk);
};

TEST_P(Retention, ParallelFormIsTheDefinition) {
  for_each_problem(
      [&](const RetentionProblem& p) { expect_same(run(p, RetentionForm::kParallel, 0), retention_oracle(p)); });
}

TEST_P(Retention, RecurrentFormIsTheDefinition) {
  for_each_problem(
      [&](const RetentionProblem& p) { expect_same(run(p, RetentionForm::kRecurrent, 0), retention_oracle(p)); });
}

TEST_P(Retention, ChunkwiseFormIsTheDefinitionForAnyChunk) {
  for_each_problem([&](const RetentionProblem& p) {
    const RetentionResult want = retention_oracle(p);
    for (const int64_t chunk : chunks()) {
      SCOPED_TRACE(concat("chunk ", chunk));
      expect_same(run(p, RetentionForm::kChunkwise, chunk), want);
    }
  });
}

TEST_P(Retention, BackwardIsTheDenseGradientForAnyChunk) {
  for_each_problem([&](const RetentionProblem& p) {
    const RetentionGradient want = retention_gradient_oracle(p);
    for (const int64_t chunk : chunks()) {
      for (const bool saved : {false, true}) {
        SCOPED_TRACE(concat("chunk ", chunk, saved ? ", saved states" : ", states computed again"));
        expect_same(run_backward(p, chunk, saved), want);
      }
    }
  });
}

TEST_P(Retention, StatesThatAreThereServeWithWhatComesInAdded) {
  for_each_problem([&](const RetentionProblem& p) {
    const auto [result, gradient] = from_states_oracle(p);
    const RetentionResult whole = retention_oracle(p);
    for (const int64_t chunk : chunks()) {
      SCOPED_TRACE(concat("chunk ", chunk));
      const auto got = run_from_states(p, chunk);
      expect_same(got.first, result);
      expect_same(got.second, gradient);
      const Context c = context(p, RetentionForm::kChunkwise, chunk);
      expect_same(run_from_states_again(p, filled_operands(p), c.args), whole);
    }
  });
}

// A chunk gets what the decay leaves of a state, also where that is less than any number of the type.
TEST_P(Retention, AStateFadesOverALongSegment) {
  RetentionProblem p = problem({1, 1000, 2, 6, 10}, true);
  p.log2_gamma = {-1.0, -0.3};
  const auto want = from_states_oracle(p), got = run_from_states(p, 64);
  expect_same(got.first, want.first);
  expect_same(got.second, want.second);
}

TEST_P(Retention, BackwardIsTheSlopeOfTheForward) {
  if (!float64()) GTEST_SKIP() << "finite differences need float64";
  RetentionProblem p = problem({2, 11, 2, 3, 4}, true, 1000, {0, 990, 1006});
  const RetentionGradient g = run_backward(p, 4, false);
  const auto objective = [&] {
    const RetentionResult r = run(p, RetentionForm::kRecurrent, 0);
    double sum = 0;
    for (size_t i = 0; i < r.o.size(); ++i) sum += r.o[i] * p.dout[i];
    for (size_t i = 0; i < r.state_out.size(); ++i) sum += r.state_out[i] * p.dstate_out[i];
    return sum;
  };
  const auto expect_slopes = [&](const char* what, Values& x, const Values& gradient) {
    Values slopes;
    for (double& element : x) {
      const double kept = element, step = 1e-3;  // the objective is linear in each element
      element = kept + step;
      const double above = objective();
      element = kept - step;
      slopes.push_back((above - objective()) / (2 * step));
      element = kept;
    }
    expect_close(what, gradient, slopes, 1e-9);
  };
  expect_slopes("dq", p.q, g.dq);
  expect_slopes("dk", p.k, g.dk);
  expect_slopes("dv", p.v, g.dv);
  expect_slopes("dstate_in", p.state_in, g.dstate_in);
}

TEST_P(Retention, StateInPlaceContinuesASequenceTokenByToken) {
  const RetentionProblem p = problem({2, 9, 3, 6, 10}, true);
  const RetentionResult want = retention_oracle(p);
  const Operands x = filled_operands(p), y = operands(p);
  const DeviceTensor state = accumulator(state_shape(p), p.state_in);
  const Context c = context(p, RetentionForm::kRecurrent, 0);
  for (int64_t t = 0; t < p.tokens; ++t) {
    RetentionArgs args{.context = c.args,
                       .q = x.q.slice(1, t, 1),
                       .k = x.k.slice(1, t, 1),
                       .v = x.v.slice(1, t, 1),
                       .state_in = state,
                       .o = y.g.slice(1, t, 1),
                       .state_out = state};
    args.context.position_offset = t;
    backend().retention(args);
  }
  expect_same({read(backend(), y.g), state.values()}, want);
}

/// Every form, and the backward, on operands into which rotate has folded the decay.
void Retention::expect_folded(const RetentionProblem& p, int64_t chunk) {
  const Operands x = filled_operands(p), y = operands(p), dx = operands(p);
  Context c = context(p, RetentionForm::kChunkwise, chunk);
  Values identity;  // rotation by no angle
  for (int64_t i = 0; i < p.tokens * p.key_dim / 2; ++i) identity.insert(identity.end(), {1.0, 0.0});
  const DeviceTensor table = accumulator({p.tokens, p.key_dim / 2, 2}, identity);
  const auto fold = [&](const TensorView& view, int sign) {
    backend().rotate(
        {.x = view, .y = view, .table = table, .log2_gamma = c.log2_gamma, .fold_chunk = chunk, .fold_sign = sign});
  };
  fold(x.q, 1);
  fold(x.k, -1);
  c.args.folded_chunk = chunk;
  const DeviceTensor state_in = accumulator(state_shape(p), p.state_in.empty() ? Values(p.states(), 0) : p.state_in);
  const DeviceTensor dstate_out =
      accumulator(state_shape(p), p.state_in.empty() ? Values(p.states(), 0) : p.dstate_out);
  const DeviceTensor state_out = accumulator(state_shape(p)), dstate_in = accumulator(state_shape(p));
  const RetentionResult want = retention_oracle(p);
  const auto forms = GetParam().cuda
                         ? std::vector{RetentionForm::kChunkwise}
                         : std::vector{RetentionForm::kChunkwise, RetentionForm::kParallel, RetentionForm::kRecurrent};
  for (const RetentionForm form : forms) {
    SCOPED_TRACE(concat("form ", static_cast<int>(form)));
    c.args.form = form;
    backend().retention(
        {.context = c.args, .q = x.q, .k = x.k, .v = x.v, .state_in = state_in, .o = y.g, .state_out = state_out});
    expect_same({read(backend(), y.g), state_out.values()}, want);
  }
  backend().retention_backward({.context = c.args,
                                .q = x.q,
                                .k = x.k,
                                .v = x.v,
                                .state_in = state_in,
                                .dout = x.g,
                                .dstate_out = dstate_out,
                                .dq = dx.q,
                                .dk = dx.k,
                                .dv = dx.v,
                                .dstate_in = dstate_in});
  const auto unfold = [&](const Operands& gradients) {
    fold(gradients.q, 1);
    fold(gradients.k, -1);
  };
  unfold(dx);
  expect_same({read(backend(), dx.q), read(backend(), dx.k), read(backend(), dx.v), dstate_in.values()},
              retention_gradient_oracle(p));
  c.args.form = RetentionForm::kChunkwise;
  const auto from_states = run_from_states(p, x, c.args, unfold), want_from_states = from_states_oracle(p);
  expect_same(from_states.first, want_from_states.first);
  expect_same(from_states.second, want_from_states.second);
  expect_same(run_from_states_again(p, x, c.args), want);
}

TEST_P(Retention, WorksOnOperandsWithFoldedDecay) {
  for_each_problem([&](const RetentionProblem& p) { expect_folded(p, 64); });
}

TEST_P(Retention, WorksOnTheFastestDecayThatIsFolded) {
  constexpr int64_t kChunk = 128;
  RetentionProblem p = problem({2, 300, 2, 16, 24}, true);
  p.log2_gamma = Values(2, -60.0 / kChunk);
  ASSERT_EQ(retention_plan({.device = Device::kCuda,
                            .key_dim = p.key_dim,
                            .value_dim = p.value_dim,
                            .least_log2_gamma = p.log2_gamma[0]})
                .fold_chunk,
            kChunk);
  expect_folded(p, kChunk);
}

TEST_P(Retention, DoesNotDependOnTheNumberOfThreads) {
  if (GetParam().cuda) GTEST_SKIP() << "about the CPU";
  const RetentionProblem p = problem({2, 100, 3, 60, 128}, true);
  const Operands x = filled_operands(p), one = operands(p), three = operands(p);
  const Context c = context(p, RetentionForm::kChunkwise, 16);
  make_cpu_backend(1)->retention({.context = c.args, .q = x.q, .k = x.k, .v = x.v, .o = one.g});
  make_cpu_backend(3)->retention({.context = c.args, .q = x.q, .k = x.k, .v = x.v, .o = three.g});
  EXPECT_EQ(read(backend(), one.g), read(backend(), three.g));
}

INSTANTIATE_TEST_SUITE_P(Backends, Retention, testing::ValuesIn(backend_cases(5e-3)), backend_case_name);

}  // namespace
}  // namespace retain::test
