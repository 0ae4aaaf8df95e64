#include "tests/support/backends.h"

namespace retain::test {
namespace {

struct Sizes {
  int64_t m, n, k;
};

class Matmul : public BackendTest {
 protected:
  static Values oracle(const Values& a, const Values& b, const Values& c, const Sizes& s, bool transpose_a,
                       bool transpose_b, double alpha, double beta) {
    Values out(s.m * s.n);
    for (int64_t i = 0; i < s.m; ++i) {
      for (int64_t j = 0; j < s.n; ++j) {
        double sum = 0;
        for (int64_t l = 0; l < s.k; ++l) {
          sum += a[transpose_a ? l * s.m + i : i * s.k + l] * b[transpose_b ? j * s.k + l : l * s.n + j];
        }
        out[i * s.n + j] = alpha * sum + (beta != 0 ? beta * c[i * s.n + j] : 0);
      }
    }
    return out;
  }

  /// Columns [4, 4 + columns) of a wider matrix filled with NaN.
  struct Strided {
    DeviceTensor matrix;
    TensorView view;
  };
  Strided strided(DType dtype, int64_t rows, int64_t columns) {
    DeviceTensor matrix(backend(), dtype, {rows, columns + 9});
    const TensorView view = matrix.view().slice(1, 4, columns);
    return {std::move(matrix), view};
  }
};

TEST_P(Matmul, EveryTransposeOfStridedOperands) {
  for (const Sizes& s : {Sizes{1, 1, 1}, {1, 10, 60}, {63, 100, 6}, {257, 130, 64}, {100, 64, 513}}) {
    for (const bool transpose_a : {false, true}) {
      for (const bool transpose_b : {false, true}) {
        SCOPED_TRACE(
            concat(s.m, "x", s.n, "x", s.k, transpose_a ? " a transposed" : "", transpose_b ? " b transposed" : ""));
        const Strided a = transpose_a ? strided(compute(), s.k, s.m) : strided(compute(), s.m, s.k);
        const Strided b = transpose_b ? strided(compute(), s.n, s.k) : strided(compute(), s.k, s.n);
        const Strided c = strided(compute(), s.m, s.n);
        write(backend(), a.view, random_values(s.m * s.k, 1));
        write(backend(), b.view, random_values(s.k * s.n, 2));
        backend().matmul({.a = a.view,
                          .b = b.view,
                          .c = c.view,
                          .transpose_a = transpose_a,
                          .transpose_b = transpose_b,
                          .alpha = 0.5});
        expect_close("c", read(backend(), c.view),
                     oracle(read(backend(), a.view), read(backend(), b.view), {}, s, transpose_a, transpose_b, 0.5, 0));
        EXPECT_TRUE(std::isnan(read(backend(), c.matrix.view().slice(1, 0, 4))[0])) << "wrote beside its columns";
      }
    }
  }
}

TEST_P(Matmul, AddsToAccumulatedGradients) {
  const Sizes s{60, 100, 257};
  const DeviceTensor a = activation({s.k, s.m}, random_values(s.m * s.k, 1));
  const DeviceTensor b = activation({s.k, s.n}, random_values(s.k * s.n, 2));
  const DeviceTensor c = accumulator({s.m, s.n}, random_values(s.m * s.n, 3, 10));
  const Values before = c.values();
  backend().matmul({.a = a, .b = b, .c = c, .transpose_a = true, .beta = 1});
  expect_close("c", c.values(), oracle(a.values(), b.values(), before, s, true, false, 1, 1));
}

TEST_P(Matmul, DoesNotDependOnTheNumberOfThreads) {
  if (GetParam().cuda) GTEST_SKIP() << "about the CPU";
  const DeviceTensor a = activation({300, 500}, random_values(300 * 500, 1));
  const DeviceTensor b = activation({500, 700}, random_values(500 * 700, 2));
  const DeviceTensor one = activation({300, 700}), three = activation({300, 700});
  make_cpu_backend(1)->matmul({.a = a, .b = b, .c = one});
  make_cpu_backend(3)->matmul({.a = a, .b = b, .c = three});
  EXPECT_EQ(one.values(), three.values());
}

INSTANTIATE_TEST_SUITE_P(Backends, Matmul, testing::ValuesIn(backend_cases()), backend_case_name);

}  // namespace
}  // namespace retain::test
