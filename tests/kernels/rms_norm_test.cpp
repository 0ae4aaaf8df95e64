#include "tests/kernels/finite_difference.h"
#include "tests/support/backends.h"

namespace retain::test {
namespace {

constexpr double kEps = 1e-3;

struct Norm {
  Values y, rstd;
};

Norm norm_oracle(const Values& s, const Values& weight) {
  const size_t d = weight.size();
  Norm out{Values(s.size()), {}};
  for (size_t i = 0; i < s.size() / d; ++i) {
    double squares = 0;
    for (size_t j = 0; j < d; ++j) squares += s[i * d + j] * s[i * d + j];
    out.rstd.push_back(1 / std::sqrt(squares / static_cast<double>(d) + kEps));
    for (size_t j = 0; j < d; ++j) out.y[i * d + j] = weight[j] * s[i * d + j] * out.rstd[i];
  }
  return out;
}

Values add(Values a, const Values& b) {
  for (size_t i = 0; i < a.size(); ++i) a[i] += b[i];
  return a;
}

class RmsNorm : public BackendTest {
 protected:
  /// Rows and columns; odd widths, one row, more rows than blocks of the reduction.
  static constexpr std::pair<int64_t, int64_t> kSizes[] = {{1, 7}, {5, 128}, {63, 100}, {257, 1030}};
};

TEST_P(RmsNorm, NormalisesEachRow) {
  for (const auto& [n, d] : kSizes) {
    SCOPED_TRACE(concat(n, "x", d));
    const DeviceTensor x = activation({n, d}, random_values(n * d, 1)), weight = accumulator({d}, random_values(d, 2));
    const DeviceTensor y = activation({n, d}), rstd = accumulator({n});
    backend().rms_norm({.x = x, .weight = weight, .y = y, .rstd = rstd, .eps = kEps});
    const Norm want = norm_oracle(x.values(), weight.values());
    expect_close("y", y.values(), want.y);
    expect_close("rstd", rstd.values(), want.rstd);
  }
}

TEST_P(RmsNorm, AddsTheResidualFirst) {
  constexpr int64_t n = 63, d = 100;
  for (const int alias : {0, 1, 2}) {
    SCOPED_TRACE(alias == 0 ? "sum apart" : alias == 1 ? "sum is x" : "sum is residual");
    const DeviceTensor x = activation({n, d}, random_values(n * d, 1));
    const DeviceTensor residual = activation({n, d}, random_values(n * d, 2)), apart = activation({n, d});
    const DeviceTensor weight = accumulator({d}, random_values(d, 3)), y = activation({n, d}), rstd = accumulator({n});
    const Values want_sum = add(x.values(), residual.values());
    const DeviceTensor& sum = alias == 0 ? apart : alias == 1 ? x : residual;
    backend().rms_norm({.x = x, .residual = residual, .weight = weight, .sum = sum, .y = y, .rstd = rstd, .eps = kEps});
    expect_close("sum", sum.values(), want_sum);
    const Norm want = norm_oracle(want_sum, weight.values());
    expect_close("y", y.values(), want.y);
    expect_close("rstd", rstd.values(), want.rstd);
  }
}

/// dx without the residual's part, and the weight's gradient.
std::pair<Values, Values> gradient_oracle(const Values& dy, const Values& x, const Values& weight, const Values& rstd) {
  const size_t d = weight.size();
  Values dx(x.size()), dweight(d);
  for (size_t i = 0; i < rstd.size(); ++i) {
    double mean = 0;
    for (size_t j = 0; j < d; ++j) {
      const double x_hat = x[i * d + j] * rstd[i];
      mean += weight[j] * dy[i * d + j] * x_hat / static_cast<double>(d);
      dweight[j] += dy[i * d + j] * x_hat;
    }
    for (size_t j = 0; j < d; ++j) {
      dx[i * d + j] = rstd[i] * (weight[j] * dy[i * d + j] - x[i * d + j] * rstd[i] * mean);
    }
  }
  return {dx, dweight};
}

TEST_P(RmsNorm, BackwardAssignsDxAndAccumulatesDweight) {
  for (const auto& [n, d] : kSizes) {
    for (const int variant : {0, 1, 2, 3}) {
      SCOPED_TRACE(concat(n, "x", d,
                          variant == 0   ? ", no residual"
                          : variant == 1 ? ", with residual"
                          : variant == 2 ? ", dx is the residual's gradient"
                                         : ", dx is dy"));
      const DeviceTensor dy = activation({n, d}, random_values(n * d, 1)),
                         x = activation({n, d}, random_values(n * d, 2));
      const DeviceTensor dresidual = activation({n, d}, random_values(n * d, 3)), apart = activation({n, d});
      const DeviceTensor weight = accumulator({d}, random_values(d, 4)),
                         dweight = accumulator({d}, random_values(d, 5));
      const DeviceTensor rstd = accumulator({n}, norm_oracle(x.values(), weight.values()).rstd);
      const DeviceTensor& dx = variant == 2 ? dresidual : variant == 3 ? dy : apart;
      auto [want_dx, want_dweight] = gradient_oracle(dy.values(), x.values(), weight.values(), rstd.values());
      if (variant == 1 || variant == 2) want_dx = add(want_dx, dresidual.values());
      want_dweight = add(want_dweight, dweight.values());
      RmsNormBackwardArgs args{.dy = dy, .x = x, .weight = weight, .rstd = rstd, .dx = dx, .dweight = dweight};
      if (variant == 1 || variant == 2) args.dresidual = dresidual;
      backend().rms_norm_backward(args);
      expect_close("dx", dx.values(), want_dx);
      expect_close("dweight", dweight.values(), want_dweight);
    }
  }
}

TEST_P(RmsNorm, BackwardDoesNotDependOnTheNumberOfThreads) {
  if (GetParam().cuda) GTEST_SKIP() << "about the CPU";
  constexpr int64_t n = 300, d = 100;
  const DeviceTensor dy = activation({n, d}, random_values(n * d, 1)), x = activation({n, d}, random_values(n * d, 2));
  const DeviceTensor weight = accumulator({d}, random_values(d, 3)), rstd = accumulator({n}, Values(n, 0.7));
  const DeviceTensor dx = activation({n, d});
  const auto dweight = [&](int threads) {
    const DeviceTensor out = accumulator({d}, Values(d, 0.0));
    make_cpu_backend(threads)->rms_norm_backward(
        {.dy = dy, .x = x, .weight = weight, .rstd = rstd, .dx = dx, .dweight = out});
    return out.values();
  };
  EXPECT_EQ(dweight(1), dweight(3));
}

TEST_P(RmsNorm, BackwardIsTheSlopeOfTheForward) {
  if (!float64()) GTEST_SKIP() << "finite differences need float64";
  constexpr int64_t n = 3, d = 5;
  Values x = random_values(n * d, 1), weight = random_values(d, 2);
  const Values dy = random_values(n * d, 3);
  const auto objective = [&] { return dot(norm_oracle(x, weight).y, dy); };
  const DeviceTensor dx = activation({n, d}), dweight = accumulator({d}, Values(d, 0.0));
  backend().rms_norm_backward({.dy = activation({n, d}, dy),
                               .x = activation({n, d}, x),
                               .weight = accumulator({d}, weight),
                               .rstd = accumulator({n}, norm_oracle(x, weight).rstd),
                               .dx = dx,
                               .dweight = dweight});
  expect_close("dx", dx.values(), finite_difference(x, objective), 1e-8);
  expect_close("dweight", dweight.values(), finite_difference(weight, objective), 1e-8);
}

INSTANTIATE_TEST_SUITE_P(Backends, RmsNorm, testing::ValuesIn(backend_cases()), backend_case_name);

}  // namespace
}  // namespace retain::test
