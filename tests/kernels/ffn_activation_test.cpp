#include "tests/kernels/finite_difference.h"
#include "tests/support/backends.h"

namespace retain::test {
namespace {

double activation_of(FfnKind kind, double x) {
  return kind == FfnKind::kSwiglu ? x / (1 + std::exp(-x)) : 0.5 * x * (1 + std::erf(x / std::sqrt(2.0)));
}

double slope_of(FfnKind kind, double x) {
  if (kind == FfnKind::kSwiglu) {
    const double s = 1 / (1 + std::exp(-x));
    return s * (1 + x * (1 - s));
  }
  return 0.5 * (1 + std::erf(x / std::sqrt(2.0))) + x * std::exp(-x * x / 2) / std::sqrt(2 * std::acos(-1.0));
}

class FfnActivation : public BackendTest {
 protected:
  static constexpr FfnKind kKinds[] = {FfnKind::kSwiglu, FfnKind::kGeglu, FfnKind::kGelu};
  static constexpr int64_t kRows = 63, kColumns = 203;

  static TensorView half(const DeviceTensor& x, int64_t index) { return x.view().slice(1, index * kColumns, kColumns); }
  /// a from the tails to the middle of the activation; b beside it.
  DeviceTensor operands() {
    DeviceTensor x = activation({kRows, 2 * kColumns});
    write(backend(), half(x, 0), random_values(kRows * kColumns, 1, 3));
    write(backend(), half(x, 1), random_values(kRows * kColumns, 2));
    return x;
  }
};

TEST_P(FfnActivation, ForwardFollowsTheFormula) {
  for (const FfnKind kind : kKinds) {
    SCOPED_TRACE(concat("kind ", static_cast<int>(kind)));
    const bool gated = kind != FfnKind::kGelu;
    const DeviceTensor x = operands(), h = activation({kRows, kColumns});
    backend().ffn_activation({.kind = kind, .a = half(x, 0), .b = gated ? half(x, 1) : TensorView{}, .h = h});
    Values want = read(backend(), half(x, 0));
    const Values b = read(backend(), half(x, 1));
    for (size_t i = 0; i < want.size(); ++i) want[i] = activation_of(kind, want[i]) * (gated ? b[i] : 1);
    expect_close("h", h.values(), want);
  }
}

TEST_P(FfnActivation, BackwardFollowsTheFormula) {
  for (const FfnKind kind : kKinds) {
    for (const bool in_place : {false, true}) {
      SCOPED_TRACE(concat("kind ", static_cast<int>(kind), in_place ? ", in place" : ""));
      const bool gated = kind != FfnKind::kGelu;
      const DeviceTensor x = operands(), apart = activation({kRows, 2 * kColumns});
      const DeviceTensor dh = activation({kRows, kColumns}, random_values(kRows * kColumns, 3));
      const DeviceTensor& dx = in_place ? x : apart;
      const Values a = read(backend(), half(x, 0)), b = read(backend(), half(x, 1)), d = dh.values();
      Values want_da(a.size()), want_db(a.size());
      for (size_t i = 0; i < a.size(); ++i) {
        want_da[i] = d[i] * (gated ? b[i] : 1) * slope_of(kind, a[i]);
        want_db[i] = d[i] * activation_of(kind, a[i]);
      }
      backend().ffn_activation_backward({.kind = kind,
                                         .dh = dh,
                                         .a = half(x, 0),
                                         .b = gated ? half(x, 1) : TensorView{},
                                         .da = half(dx, 0),
                                         .db = gated ? half(dx, 1) : TensorView{}});
      expect_close("da", read(backend(), half(dx, 0)), want_da);
      if (gated) expect_close("db", read(backend(), half(dx, 1)), want_db);
    }
  }
}

TEST_P(FfnActivation, SlopesAreThoseOfTheActivations) {
  if (!float64()) GTEST_SKIP() << "about the oracle of the test above";
  for (const FfnKind kind : kKinds) {
    for (double x = -6; x < 6; x += 0.37) {
      Values at = {x};
      EXPECT_NEAR(finite_difference(at, [&] { return activation_of(kind, at[0]); })[0], slope_of(kind, x), 1e-9);
    }
  }
}

TEST_P(FfnActivation, StaysFiniteFarOut) {
  for (const FfnKind kind : kKinds) {
    const DeviceTensor a = activation({1, 4}, {-300, -60, 60, 300}), b = activation({1, 4}, {1, 1, 1, 1});
    const DeviceTensor h = activation({1, 4});
    const bool gated = kind != FfnKind::kGelu;
    backend().ffn_activation({.kind = kind, .a = a, .b = gated ? b.view() : TensorView{}, .h = h});
    const Values got = h.values(), in = a.values();
    EXPECT_NEAR(got[0], 0, 1e-20);
    EXPECT_NEAR(got[1], 0, 1e-20);
    EXPECT_EQ(got[2], in[2]);
    EXPECT_EQ(got[3], in[3]);
  }
}

INSTANTIATE_TEST_SUITE_P(Backends, FfnActivation, testing::ValuesIn(backend_cases()), backend_case_name);

}  // namespace
}  // namespace retain::test
