#include "tests/kernels/retention_oracle.h"
#include "tests/support/backends.h"

namespace retain::test {
namespace {

class Rotate : public BackendTest {
 protected:
  static constexpr int64_t kBatch = 2, kTokens = 100, kHeads = 6;

  /// Angles of rope at positions from 1000 on.
  static Values table(int64_t key_dim) {
    Values out;
    for (int64_t t = 0; t < kTokens; ++t) {
      for (int64_t i = 0; i < key_dim / 2; ++i) {
        const double angle = static_cast<double>(1000 + t) * std::pow(10000.0, -2.0 * i / key_dim);
        out.insert(out.end(), {std::cos(angle), std::sin(angle)});
      }
    }
    return out;
  }

  static Values oracle(const Values& x, const Values& table, int64_t key_dim, double scale, bool inverse,
                       int64_t fold_chunk, int sign) {
    Values y(x.size());
    const Values log2_gamma = log2_gammas(kHeads);
    const int64_t half = key_dim / 2;
    for (int64_t row = 0; row < kBatch * kTokens * kHeads; ++row) {
      const int64_t t = row / kHeads % kTokens, h = row % kHeads;
      const double folded = fold_chunk ? std::exp2(log2_gamma[h] * sign * static_cast<double>(t % fold_chunk)) : 1.0;
      for (int64_t i = 0; i < half; ++i) {
        const double c = table[(t * half + i) * 2], s = table[(t * half + i) * 2 + 1] * (inverse ? -1 : 1);
        const double a = x[row * key_dim + i], b = x[row * key_dim + half + i];
        y[row * key_dim + i] = scale * folded * (a * c - b * s);
        y[row * key_dim + half + i] = scale * folded * (b * c + a * s);
      }
    }
    return y;
  }
};

TEST_P(Rotate, RotatesScalesAndFolds) {
  const DeviceTensor log2_gamma = doubles({kHeads}, log2_gammas(kHeads));
  for (const int64_t key_dim : {6, 60, 64}) {
    const DeviceTensor angles = accumulator({kTokens, key_dim / 2, 2}, table(key_dim));
    const DeviceTensor matrix = activation({kBatch, kTokens, 3 * kHeads * key_dim});
    const TensorView x = matrix.view().slice(2, 0, kHeads * key_dim).split(2, kHeads, key_dim);
    const TensorView y = matrix.view().slice(2, kHeads * key_dim, kHeads * key_dim).split(2, kHeads, key_dim);
    const Values values = rounded(compute(), random_values(x.elements(), 1));
    write(backend(), x, values);
    for (const bool inverse : {false, true}) {
      for (const int sign : {0, 1, -1}) {
        SCOPED_TRACE(concat("K=", key_dim, " inverse ", inverse, " fold ", sign));
        RotateArgs args{.x = x, .y = y, .table = angles, .inverse = inverse, .scale = 0.125};
        if (sign != 0) {
          args.log2_gamma = log2_gamma;
          args.fold_chunk = 64;
          args.fold_sign = sign;
        }
        backend().rotate(args);
        expect_close("y", read(backend(), y),
                     oracle(values, angles.values(), key_dim, 0.125, inverse, args.fold_chunk, sign));
      }
    }
  }
}

TEST_P(Rotate, WorksInPlace) {
  const DeviceTensor angles = accumulator({kTokens, 32, 2}, table(64));
  const DeviceTensor x = activation({kBatch, kTokens, kHeads, 64}, random_values(kBatch * kTokens * kHeads * 64, 1));
  const Values before = x.values();
  backend().rotate({.x = x, .y = x, .table = angles});
  expect_close("x", x.values(), oracle(before, angles.values(), 64, 1, false, 0, 0));
}

INSTANTIATE_TEST_SUITE_P(Backends, Rotate, testing::ValuesIn(backend_cases()), backend_case_name);

}  // namespace
}  // namespace retain::test
