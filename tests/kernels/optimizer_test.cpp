#include <array>
#include <limits>

#include "tests/support/backends.h"

namespace retain::test {
namespace {

class Optimizer : public BackendTest {
 protected:
  DeviceTensor scalar(double value) { return doubles({1}, {value}); }
  DeviceTensor rates(double lr, int64_t step) {
    const std::array<double, 3> rates = adamw_rates(lr, 0.9, 0.98, step);
    return doubles({3}, {rates.begin(), rates.end()});
  }
};

TEST_P(Optimizer, AddTakesBfloat16IntoWiderSums) {
  for (const int64_t n : {1, 8, 100, 40000, 100003}) {
    for (const int64_t skipped : {int64_t{0}, std::min<int64_t>(n - 1, 3)}) {  // memory that lies well, or badly
      SCOPED_TRACE(concat(n, " elements without ", skipped));
      const DeviceTensor x(backend(), DType::kBfloat16, {n}, random_values(n, 1));
      const DeviceTensor y = accumulator({n}, random_values(n, 2));
      Values want = y.values();
      const Values more = x.values();
      for (size_t i = static_cast<size_t>(skipped); i < want.size(); ++i) want[i] += more[i];
      const auto rest = [&](const TensorView& view) { return view.slice(0, skipped, n - skipped); };
      backend().add({.x = rest(x), .y = rest(y)});
      expect_close("y + x", y.values(), want, float64() ? 1e-15 : 1e-7);
    }
  }
}

TEST_P(Optimizer, ReduceSumsAndAccumulates) {
  for (const int64_t n : {1, 100, 40000, 100003}) {
    SCOPED_TRACE(n);
    const DeviceTensor x = accumulator({n}, random_values(n, 1)), out = scalar(5);
    double sum = 0, squares = 0;
    for (const double v : x.values()) sum += v, squares += v * v;
    backend().reduce({.kind = ReduceKind::kSum, .x = x, .out = out, .accumulate = true});
    expect_close("5 + sum", out.values(), {5 + sum}, 1e-6);
    backend().reduce({.kind = ReduceKind::kSumOfSquares, .x = x, .out = out});
    expect_close("squares", out.values(), {squares}, 1e-6);
    backend().reduce({.kind = ReduceKind::kSumOfSquares, .x = x, .out = out, .accumulate = true});
    expect_close("twice the squares", out.values(), {2 * squares}, 1e-6);
  }
}

TEST_P(Optimizer, ReduceDoesNotDependOnTheNumberOfThreads) {
  if (GetParam().cuda) GTEST_SKIP() << "about the CPU";
  const DeviceTensor x = accumulator({300001}, random_values(300001, 1)), one = scalar(0), three = scalar(0);
  make_cpu_backend(1)->reduce({.kind = ReduceKind::kSumOfSquares, .x = x, .out = one});
  make_cpu_backend(3)->reduce({.kind = ReduceKind::kSumOfSquares, .x = x, .out = three});
  EXPECT_EQ(one.values(), three.values());
}

TEST_P(Optimizer, ReduceShowsWhatIsNotANumber) {
  Values values(70000, 1.0);
  values[69999] = std::nan("");
  const DeviceTensor x = accumulator({70000}, values), out = scalar(0);
  backend().reduce({.kind = ReduceKind::kSumOfSquares, .x = x, .out = out});
  EXPECT_TRUE(std::isnan(out.values()[0]));
}

TEST_P(Optimizer, ClipScaleShrinksLongGradientsAlone) {
  const auto clip = [&](double squares, double max_norm) {
    const DeviceTensor in = scalar(squares), norm = scalar(-1), scale = scalar(-1);
    backend().clip_scale({.sum_of_squares = in, .norm = norm, .scale = scale, .max_norm = max_norm});
    return std::pair{norm.values()[0], scale.values()[0]};
  };
  EXPECT_EQ(clip(16, 1), (std::pair{4.0, 0.25}));
  EXPECT_EQ(clip(0.25, 1), (std::pair{0.5, 1.0}));
  EXPECT_EQ(clip(16, 0), (std::pair{4.0, 1.0})) << "no clipping";
  EXPECT_EQ(clip(0, 1), (std::pair{0.0, 1.0}));
  EXPECT_TRUE(std::isnan(clip(std::numeric_limits<double>::infinity(), 1).second));
  EXPECT_TRUE(std::isnan(clip(std::nan(""), 0).second));
}

TEST_P(Optimizer, ClipScaleForbidsWhatIsBeyondALimitOrHasNoFiniteLoss) {
  const double infinity = std::numeric_limits<double>::infinity();
  const auto scale = [&](double loss, double norm_limit, double loss_limit) {
    const DeviceTensor in = scalar(16), sum = scalar(loss), norm = scalar(-1), scale = scalar(-1);
    const DeviceTensor limits = doubles({2}, {norm_limit, loss_limit});
    backend().clip_scale(
        {.sum_of_squares = in, .norm = norm, .scale = scale, .max_norm = 1, .loss = sum, .limits = limits});
    EXPECT_EQ(norm.values()[0], 4.0);
    return scale.values()[0];
  };
  EXPECT_EQ(scale(3, infinity, infinity), 0.25);
  EXPECT_EQ(scale(3, 4, 3), 0.25) << "what is as large as a limit is within";
  EXPECT_TRUE(std::isnan(scale(3, 3.9, infinity)));
  EXPECT_TRUE(std::isnan(scale(3, infinity, 2.9)));
  EXPECT_TRUE(std::isnan(scale(infinity, infinity, infinity)));
  EXPECT_TRUE(std::isnan(scale(-infinity, infinity, infinity)));
  EXPECT_TRUE(std::isnan(scale(std::nan(""), infinity, infinity)));
}

TEST_P(Optimizer, AdamwFollowsThePaper) {
  constexpr int64_t n = 10007;
  const Values start = random_values(n, 1);
  DeviceTensor gradient = accumulator({n});
  const DeviceTensor master = accumulator({n}, start), weight = activation({n});
  const DeviceTensor m = accumulator({n}, Values(n, 0.0)), v = accumulator({n}, Values(n, 0.0)), scale = scalar(0.5);
  Values w = master.values(), want_m(n, 0.0), want_v(n, 0.0);
  for (int64_t step = 1; step <= 3; ++step) {
    gradient.set(random_values(n, 10 + static_cast<uint64_t>(step)));
    const DeviceTensor rates = this->rates(0.1, step);
    backend().adamw({.gradient = gradient,
                     .master = master,
                     .m = m,
                     .v = v,
                     .weight = weight,
                     .grad_scale = scale,
                     .rates = rates,
                     .beta1 = 0.9,
                     .beta2 = 0.98,
                     .eps = 1e-3,
                     .weight_decay = 0.05});
    const Values g = gradient.values();
    for (int64_t i = 0; i < n; ++i) {
      const double scaled = 0.5 * g[i];
      want_m[i] = 0.9 * want_m[i] + 0.1 * scaled;
      want_v[i] = 0.98 * want_v[i] + 0.02 * scaled * scaled;
      const double m_hat = want_m[i] / (1 - std::pow(0.9, step)), v_hat = want_v[i] / (1 - std::pow(0.98, step));
      w[i] -= 0.1 * (m_hat / (std::sqrt(v_hat) + 1e-3) + 0.05 * w[i]);
    }
  }
  const double exact = float64() ? 1e-11 : 1e-5;
  expect_close("m", m.values(), want_m, exact);
  expect_close("v", v.values(), want_v, exact);
  expect_close("master", master.values(), w, exact);
  EXPECT_EQ(weight.values(), rounded(compute(), master.values())) << "the weight is the rounded master";
}

TEST_P(Optimizer, AdamwUpdatesInPlaceWhereWeightIsMaster) {
  if (compute() == DType::kBfloat16) GTEST_SKIP() << "masters are float32";
  const DeviceTensor master = accumulator({3}, {1, 2, 3}), gradient = accumulator({3}, {1, -1, 2});
  const DeviceTensor m = accumulator({3}, {0, 0, 0}), v = accumulator({3}, {0, 0, 0}), scale = scalar(1);
  backend().adamw({.gradient = gradient,
                   .master = master,
                   .m = m,
                   .v = v,
                   .weight = master,
                   .grad_scale = scale,
                   .rates = rates(0.5, 1),
                   .eps = 0});
  expect_close("master", master.values(), {0.5, 2.5, 2.5});
}

TEST_P(Optimizer, AdamwChangesNothingWhenTheScaleIsNotFinite) {
  const DeviceTensor gradient = accumulator({3}, {1, 2, 3}), scale = scalar(std::nan(""));
  const DeviceTensor master = accumulator({3}, {1, 2, 3}), weight = activation({3}, {4, 5, 6});
  const DeviceTensor m = accumulator({3}, {7, 8, 9}), v = accumulator({3}, {1, 1, 2});
  backend().adamw({.gradient = gradient,
                   .master = master,
                   .m = m,
                   .v = v,
                   .weight = weight,
                   .grad_scale = scale,
                   .rates = rates(0.1, 1),
                   .weight_decay = 0.1});
  EXPECT_EQ(master.values(), (Values{1, 2, 3}));
  EXPECT_EQ(weight.values(), (Values{4, 5, 6}));
  EXPECT_EQ(m.values(), (Values{7, 8, 9}));
  EXPECT_EQ(v.values(), (Values{1, 1, 2}));
}

INSTANTIATE_TEST_SUITE_P(Backends, Optimizer, testing::ValuesIn(backend_cases()), backend_case_name);

}  // namespace
}  // namespace retain::test
