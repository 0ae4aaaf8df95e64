#include "tests/kernels/golden/retention.h"
#include "tests/kernels/retention_fixture.h"

namespace retain::test {
namespace {

class RetentionGolden : public RetentionTest {
 protected:
  static Values wave(int64_t count, double frequency, double phase) {
    Values values;
    for (int64_t i = 0; i < count; ++i) values.push_back(std::sin(frequency * static_cast<double>(i) + phase));
    return values;
  }

  static RetentionProblem golden_problem() {
    RetentionProblem p;
    p.tokens = golden::kTokens, p.heads = golden::kHeads, p.key_dim = golden::kKeyDim, p.value_dim = golden::kValueDim;
    p.log2_gamma = log2_gammas(p.heads);
    const int64_t keys = p.tokens * p.heads * p.key_dim, values = p.tokens * p.heads * p.value_dim;
    p.q = wave(keys, 0.7, 0.1);
    p.k = wave(keys, 1.3, 0.5);
    p.v = wave(values, 0.9, -0.3);
    p.dout = wave(values, 1.1, 0.7);
    p.state_in = wave(p.states(), 0.5, 0.2);
    p.dstate_out = wave(p.states(), 1.7, -0.1);
    return p;
  }

  template <size_t N>
  void expect_golden(const char* what, const Values& got, const double (&want)[N]) {
    expect_close(what, got, Values(want, want + N));
  }
};

TEST_P(RetentionGolden, FormsAndGradientsMatchTheStoredVectors) {
  const RetentionProblem p = golden_problem();
  const int64_t chunk = GetParam().cuda ? 64 : 4;
  for (const RetentionForm form : {RetentionForm::kParallel, RetentionForm::kChunkwise, RetentionForm::kRecurrent}) {
    SCOPED_TRACE(concat("form ", static_cast<int>(form)));
    const RetentionResult r = run(p, form, chunk);
    expect_golden("o", r.o, golden::kO);
    expect_golden("state_out", r.state_out, golden::kStateOut);
  }
  const RetentionGradient g = run_backward(p, chunk, false);
  expect_golden("dq", g.dq, golden::kDq);
  expect_golden("dk", g.dk, golden::kDk);
  expect_golden("dv", g.dv, golden::kDv);
  expect_golden("dstate_in", g.dstate_in, golden::kDstateIn);
}

/// Inputs are rounded to bfloat16 here too, which the stored vectors do not know of.
INSTANTIATE_TEST_SUITE_P(Backends, RetentionGolden, testing::ValuesIn(backend_cases(1.5e-2)), backend_case_name);

}  // namespace
}  // namespace retain::test
