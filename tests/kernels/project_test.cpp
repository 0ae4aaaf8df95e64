#include <cmath>
#include <cstdint>
#include <optional>
#include <vector>

#include "tests/support/backends.h"

namespace retain::test {
namespace {

struct Case {
  int64_t rows, in, out;  // out: of y
  bool norm = false;
  std::optional<FfnKind> activation = {};
  bool adds = false;
};

std::vector<Case> cases() {
  std::vector<Case> all;
  for (const int64_t rows : {1, 2, 3, 8, 9}) {
    all.push_back({rows, 64, 5});
    all.push_back({rows, 2048, 130, true});
    all.push_back({rows, 2816, 70, false, {}, true});
    all.push_back({rows, 136, 67, true, FfnKind::kSwiglu});
    all.push_back({rows, 2048, 35, true, FfnKind::kGeglu});
    all.push_back({rows, 72, 31, false, FfnKind::kGelu});
    all.push_back({rows, 33, 17, true, {}, true});  // no whole vectors
  }
  all.push_back({1, 256, 9000, true});  // wide
  return all;
}

double activated(FfnKind kind, double a) {
  return kind == FfnKind::kSwiglu ? a / (1 + std::exp(-a)) : 0.5 * a * (1 + std::erf(a / std::sqrt(2.0)));
}

class Project : public BackendTest {
 protected:
  static Values oracle(const Case& c, const Values& x, const Values& norm, const Values& weight, const Values& before,
                       double eps) {
    Values y;
    for (int64_t i = 0; i < c.rows; ++i) {
      double squares = 0;
      for (int64_t j = 0; j < c.in; ++j) squares += x[i * c.in + j] * x[i * c.in + j];
      const double rstd = 1 / std::sqrt(squares / static_cast<double>(c.in) + eps);
      const auto dot = [&](int64_t row) {
        double sum = 0;
        for (int64_t j = 0; j < c.in; ++j)
          sum += weight[row * c.in + j] * x[i * c.in + j] * (c.norm ? norm[j] * rstd : 1);
        return sum;
      };
      for (int64_t o = 0; o < c.out; ++o) {
        double value = dot(o);
        if (c.activation) value = activated(*c.activation, value);
        if (c.activation && *c.activation != FfnKind::kGelu) value *= dot(c.out + o);
        y.push_back(value + (c.adds ? before[i * c.out + o] : 0));
      }
    }
    return y;
  }
};

TEST_P(Project, IsTheProductWithItsSurroundings) {
  for (const Case& c : cases()) {
    SCOPED_TRACE(testing::Message() << c.rows << " rows, " << c.in << " to " << c.out << ", norm " << c.norm
                                    << ", activation " << (c.activation ? static_cast<int>(*c.activation) : -1));
    const int64_t weight_rows = c.activation && *c.activation != FfnKind::kGelu ? 2 * c.out : c.out;
    const DeviceTensor x = activation({c.rows, c.in}, random_values(c.rows * c.in, 1));
    const DeviceTensor weight = activation({weight_rows, c.in}, random_values(weight_rows * c.in, 2, 0.1));
    const DeviceTensor norm = accumulator({c.in}, random_values(c.in, 3));
    const DeviceTensor y =
        c.adds ? activation({c.rows, c.out}, random_values(c.rows * c.out, 4)) : activation({c.rows, c.out});
    const DeviceTensor normed = activation({c.rows, c.in}), product = activation({c.rows, weight_rows});
    const DeviceTensor rstd = accumulator({c.rows});
    const Values want = oracle(c, x.values(), norm.values(), weight.values(), y.values(), 1e-2);
    backend().project({.x = x,
                       .norm = c.norm ? norm.view() : TensorView{},
                       .weight = weight,
                       .y = y,
                       .normed = normed,
                       .rstd = rstd,
                       .product = product,
                       .activation = c.activation,
                       .adds = c.adds,
                       .eps = 1e-2});
    expect_close("y", y.values(), want);
  }
}

// As a chain of short kernels, each of which reads what the one before wrote.
TEST_P(Project, ProductsFollowOnEachOther) {
  constexpr int64_t kWidth = 512;
  const DeviceTensor weight = activation({kWidth, kWidth}, random_values(kWidth * kWidth, 1, 0.05));
  const DeviceTensor x = activation({1, kWidth}, random_values(kWidth, 2)), z = activation({1, kWidth});
  const Values w = weight.values();
  Values stream = x.values();
  for (int i = 0; i < 20; ++i) {
    backend().project({.x = x, .weight = weight, .y = z});
    backend().project({.x = z, .weight = weight, .y = x, .adds = true});
    const auto times = [&](const Values& in) {
      Values out(kWidth, 0.0);
      for (int64_t o = 0; o < kWidth; ++o) {
        for (int64_t j = 0; j < kWidth; ++j) out[o] += w[o * kWidth + j] * in[j];
      }
      return rounded(compute(), out);
    };
    const Values added = times(times(stream));
    for (size_t j = 0; j < stream.size(); ++j) stream[j] += added[j];
    stream = rounded(compute(), stream);
  }
  expect_close("x", x.values(), stream, 20 * GetParam().tolerance);
}

TEST_P(Project, RefusesWhatItsContractDoesNotSay) {
  const DeviceTensor x = activation({2, 8}), weight = activation({6, 8}), y = activation({2, 6});
  const DeviceTensor norm = accumulator({8}), half = activation({2, 3});
  const auto refused = [&](const ProjectArgs& args) { EXPECT_THROW(backend().project(args), Error); };
  refused({.x = x, .weight = weight, .y = half});
  refused({.x = x, .norm = norm, .weight = weight, .y = y});  // nowhere to norm to
  refused({.x = x, .weight = weight, .y = half, .activation = FfnKind::kSwiglu});
  refused(
      {.x = x, .weight = weight, .y = y, .product = activation({2, 6}), .activation = FfnKind::kGelu, .adds = true});
  refused({.x = x, .weight = x, .y = x});
}

INSTANTIATE_TEST_SUITE_P(Backends, Project, testing::ValuesIn(backend_cases()), backend_case_name);

}  // namespace
}  // namespace retain::test
