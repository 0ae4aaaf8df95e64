#include "tests/kernels/finite_difference.h"
#include "tests/kernels/retention_oracle.h"
#include "tests/support/backends.h"

namespace retain::test {
namespace {

constexpr double kEps = 1e-2;

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

struct Gated {
  Values y, rstd;
};

/// Rows of `width` values; eps of each row; no weight when empty.
Gated gate_oracle(const Values& o, const Values& g, const Values& weight, const Values& eps, size_t width) {
  Gated out{Values(o.size()), {}};
  for (size_t i = 0; i < o.size() / width; ++i) {
    double squares = 0;
    for (size_t j = 0; j < width; ++j) squares += o[i * width + j] * o[i * width + j];
    out.rstd.push_back(1 / std::sqrt(squares / static_cast<double>(width) + eps[i]));
    for (size_t j = 0; j < width; ++j) {
      const double x = g[i * width + j];
      out.y[i * width + j] = x * sigmoid(x) * (weight.empty() ? 1 : weight[j]) * o[i * width + j] * out.rstd[i];
    }
  }
  return out;
}

struct GateGradient {
  Values dout, dg, dweight;
};

GateGradient gradient_oracle(const Values& dy, const Values& o, const Values& g, const Values& weight,
                             const Values& rstd, size_t width) {
  GateGradient out{Values(o.size()), Values(o.size()), Values(width)};
  for (size_t i = 0; i < rstd.size(); ++i) {
    Values d_hat(width);
    double mean = 0;
    for (size_t j = 0; j < width; ++j) {
      const size_t e = i * width + j;
      const double s = sigmoid(g[e]), silu = g[e] * s, o_hat = o[e] * rstd[i], w = weight.empty() ? 1 : weight[j];
      d_hat[j] = dy[e] * silu * w;
      mean += d_hat[j] * o_hat / static_cast<double>(width);
      out.dg[e] = dy[e] * w * o_hat * s * (1 + g[e] * (1 - s));
      out.dweight[j] += dy[e] * silu * o_hat;
    }
    for (size_t j = 0; j < width; ++j) {
      out.dout[i * width + j] = rstd[i] * (d_hat[j] - o[i * width + j] * rstd[i] * mean);
    }
  }
  return out;
}

struct Sizes {
  int64_t batch, tokens, heads, width;
};

class HeadNormGate : public BackendTest {
 protected:
  static constexpr Sizes kSizes[] = {{1, 1, 1, 10}, {2, 63, 3, 100}, {1, 257, 20, 128}};

  static int64_t count(const Sizes& s) { return s.batch * s.tokens * s.heads * s.width; }
  /// One of two column blocks of a matrix.
  static TensorView block(const DeviceTensor& matrix, const Sizes& s, int64_t index) {
    return matrix.view().slice(2, index * s.heads * s.width, s.heads * s.width).split(2, s.heads, s.width);
  }
  DeviceTensor two_blocks(const Sizes& s) { return activation({s.batch, s.tokens, 2 * s.heads * s.width}); }
};

TEST_P(HeadNormGate, NormalisesEachHeadAndGates) {
  for (const Sizes& s : kSizes) {
    const Values o_values = rounded(compute(), random_values(count(s), 1));
    const Values g_values = rounded(compute(), random_values(count(s), 2, 3));
    for (const bool affine : {false, true}) {
      SCOPED_TRACE(concat("T=", s.tokens, " V=", s.width, affine ? " affine" : ""));
      const DeviceTensor in = two_blocks(s), out = two_blocks(s);
      const TensorView o = block(in, s, 0), g = block(in, s, 1), y = block(out, s, 0);
      write(backend(), o, o_values);
      write(backend(), g, g_values);
      const DeviceTensor weight = accumulator({s.width}, random_values(s.width, 3));
      const DeviceTensor rstd = accumulator({s.batch, s.tokens, s.heads});
      HeadNormGateArgs args{.o = o, .g = g, .y = y, .rstd = rstd, .eps = kEps};
      if (affine) args.weight = weight;
      backend().head_norm_gate(args);
      const Gated want = gate_oracle(o_values, g_values, affine ? weight.values() : Values{},
                                     Values(count(s) / s.width, kEps), s.width);
      expect_close("y", read(backend(), y), want.y);
      expect_close("rstd", rstd.values(), want.rstd);
    }
  }
}

TEST_P(HeadNormGate, RowsumEpsilonCountsTheTokensOfTheDocument) {
  const Sizes s{2, 100, 3, 10};
  constexpr int64_t kOffset = 1000;
  Values gammas = log2_gammas(s.heads);
  gammas[2] = 0;  // no decay at all
  const DeviceTensor log2_gamma = doubles({s.heads}, gammas);
  for (const bool documents : {false, true}) {
    SCOPED_TRACE(documents ? "documents" : "one document");
    const Values starts = document_starts(s.batch, s.tokens, kOffset, {0, 990, 1050});
    const DeviceTensor document_start = integers({s.batch, s.tokens}, starts);
    Values eps;
    for (int64_t row = 0; row < s.batch * s.tokens; ++row) {
      const int64_t start = documents ? static_cast<int64_t>(starts[row]) : 0;
      for (int64_t h = 0; h < s.heads; ++h) {
        double sum = 0;
        for (int64_t m = start; m <= kOffset + row % s.tokens; ++m) {
          sum += std::exp2(gammas[h] * static_cast<double>(kOffset + row % s.tokens - m));
        }
        eps.push_back(kEps * sum);
      }
    }
    const DeviceTensor o = activation({s.batch, s.tokens, s.heads, s.width}, random_values(count(s), 1));
    const DeviceTensor g = activation({s.batch, s.tokens, s.heads, s.width}, random_values(count(s), 2));
    const DeviceTensor y = activation({s.batch, s.tokens, s.heads, s.width});
    const DeviceTensor rstd = accumulator({s.batch, s.tokens, s.heads});
    HeadNormGateArgs args{.o = o,
                          .g = g,
                          .log2_gamma = log2_gamma,
                          .y = y,
                          .rstd = rstd,
                          .position_offset = kOffset,
                          .eps_kind = GroupNormEps::kRowsum,
                          .eps = kEps};
    if (documents) args.document_start = document_start;
    backend().head_norm_gate(args);
    const Gated want = gate_oracle(o.values(), g.values(), {}, eps, s.width);
    expect_close("y", y.values(), want.y);
    expect_close("rstd", rstd.values(), want.rstd);
  }
}

TEST_P(HeadNormGate, BackwardAssignsActivationsAndAccumulatesDweight) {
  for (const Sizes& s : kSizes) {
    const Values o_values = rounded(compute(), random_values(count(s), 1));
    const Values g_values = rounded(compute(), random_values(count(s), 2, 3));
    const Values dy_values = rounded(compute(), random_values(count(s), 3));
    const Values weights = rounded(accumulate(), random_values(s.width, 4));
    for (const bool affine : {false, true}) {
      const Values w = affine ? weights : Values{};
      const Values rstds =
          rounded(accumulate(), gate_oracle(o_values, g_values, w, Values(count(s) / s.width, kEps), s.width).rstd);
      const GateGradient want = gradient_oracle(dy_values, o_values, g_values, w, rstds, s.width);
      for (const int alias : {0, 1, 2}) {
        SCOPED_TRACE(concat("T=", s.tokens, " V=", s.width, affine ? " affine" : "", " alias ", alias));
        const DeviceTensor in = two_blocks(s), dy_in = two_blocks(s), out = two_blocks(s);
        const TensorView o = block(in, s, 0), g = block(in, s, 1), dy = block(dy_in, s, 0);
        write(backend(), o, o_values);
        write(backend(), g, g_values);
        write(backend(), dy, dy_values);
        const TensorView dout = alias == 0 ? block(out, s, 0) : alias == 1 ? dy : o;
        const TensorView dg = alias == 0 ? block(out, s, 1) : g;
        const DeviceTensor weight = accumulator({s.width}, weights);
        const DeviceTensor dweight = accumulator({s.width}, random_values(s.width, 5));
        const DeviceTensor rstd = accumulator({s.batch, s.tokens, s.heads}, rstds);
        Values want_dweight = dweight.values();
        HeadNormGateBackwardArgs args{.dy = dy, .o = o, .g = g, .rstd = rstd, .dout = dout, .dg = dg};
        if (affine) {
          args.weight = weight;
          args.dweight = dweight;
          for (size_t j = 0; j < want_dweight.size(); ++j) want_dweight[j] += want.dweight[j];
        }
        backend().head_norm_gate_backward(args);
        expect_close("dout", read(backend(), dout), want.dout);
        expect_close("dg", read(backend(), dg), want.dg);
        expect_close("dweight", dweight.values(), want_dweight);
      }
    }
  }
}

TEST_P(HeadNormGate, BackwardIsTheSlopeOfTheForward) {
  if (!float64()) GTEST_SKIP() << "finite differences need float64";
  const std::vector<int64_t> shape = {1, 3, 2, 5};
  Values o = random_values(30, 1), g = random_values(30, 2), weight = random_values(5, 3);
  const Values dy = random_values(30, 4), eps(6, kEps);
  const auto objective = [&] { return test::dot(gate_oracle(o, g, weight, eps, 5).y, dy); };
  const DeviceTensor dout = activation(shape), dg = activation(shape), dweight = accumulator({5}, Values(5, 0.0));
  backend().head_norm_gate_backward({.dy = activation(shape, dy),
                                     .o = activation(shape, o),
                                     .g = activation(shape, g),
                                     .weight = accumulator({5}, weight),
                                     .rstd = accumulator({1, 3, 2}, gate_oracle(o, g, weight, eps, 5).rstd),
                                     .dout = dout,
                                     .dg = dg,
                                     .dweight = dweight});
  expect_close("dout", dout.values(), finite_difference(o, objective), 1e-8);
  expect_close("dg", dg.values(), finite_difference(g, objective), 1e-8);
  expect_close("dweight", dweight.values(), finite_difference(weight, objective), 1e-8);
}

INSTANTIATE_TEST_SUITE_P(Backends, HeadNormGate, testing::ValuesIn(backend_cases()), backend_case_name);

}  // namespace
}  // namespace retain::test
