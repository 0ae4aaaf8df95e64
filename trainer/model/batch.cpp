#include "trainer/model/batch.h"

#include <cmath>

namespace retain {

DeviceBatch take_batch(Arena& arena, const BatchShape& shape) {
  DeviceBatch batch;
  batch.shape = shape;
  batch.tokens = arena.take(DType::kInt32, {shape.rows()});
  batch.targets = arena.take(DType::kInt32, {shape.rows()});
  batch.document_start = arena.take(DType::kInt32, {shape.sequences, shape.tokens});
  batch.token_order = arena.take(DType::kInt32, {shape.rows()});
  batch.carry = arena.take(DType::kFloat32, {shape.segments, shape.sequences});
  return batch;
}

std::vector<double> rotation_table(Rotary rotary, int64_t key_dim, int64_t offset, int64_t tokens) {
  const int64_t pairs = key_dim / 2;
  std::vector<double> theta(pairs);
  for (int64_t j = 0; j < pairs; ++j) {
    const double exponent = rotary == Rotary::kRope ? 2.0 * static_cast<double>(j) / static_cast<double>(key_dim)
                                                    : static_cast<double>(j) / static_cast<double>(pairs - 1);
    theta[j] = std::pow(10000.0, -exponent);
  }
  std::vector<double> table(tokens * pairs * 2);
  for (int64_t t = 0; t < tokens; ++t) {
    for (int64_t j = 0; j < pairs; ++j) {
      const double angle = static_cast<double>(offset + t) * theta[j];
      table[(t * pairs + j) * 2] = std::cos(angle);
      table[(t * pairs + j) * 2 + 1] = std::sin(angle);
    }
  }
  return table;
}

std::vector<double> log2_gammas(Decay decay, int64_t heads, int64_t first, int64_t count) {
  std::vector<double> out(count);
  for (int64_t i = 0; i < count; ++i) {
    const auto h = static_cast<double>(first + i);
    double x = std::exp2(-5.0 - h);
    if (decay == Decay::kPaperExp) {
      const double begin = std::log(1.0 / 32), end = std::log(1.0 / 512);
      x = std::exp(heads == 1 ? begin : begin + (end - begin) * h / static_cast<double>(heads - 1));
    }
    out[i] = std::log1p(-x) / std::log(2.0);
  }
  return out;
}

void upload_rounded(Backend& backend, const TensorView& to, const std::vector<double>& values) {
  if (to.dtype == DType::kFloat64) {
    backend.upload(to, values.data());
  } else {
    const std::vector<float> narrow(values.begin(), values.end());
    backend.upload(to, narrow.data());
  }
}

}  // namespace retain
