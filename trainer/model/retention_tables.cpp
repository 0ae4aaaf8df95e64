#include "trainer/model/retention_tables.h"

#include <algorithm>
#include <cmath>

#include "trainer/model/host_values.h"

namespace retain {

std::vector<double> rotation_frequencies(Rotary rotary, int64_t key_dim) {
  const int64_t pairs = key_dim / 2;
  std::vector<double> theta(pairs);
  for (int64_t j = 0; j < pairs; ++j) {
    const double exponent = rotary == Rotary::kRope ? 2.0 * static_cast<double>(j) / static_cast<double>(key_dim)
                                                    : static_cast<double>(j) / static_cast<double>(pairs - 1);
    theta[j] = std::pow(10000.0, -exponent);
  }
  return theta;
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

void RetentionTables::take(Arena& arena, const Dimensions& dims) {
  rotary_ = dims.model.rotary;
  frequencies_ = arena.take(DType::kFloat64, {dims.key_dim / 2});
  rotation_ = arena.take(dims.accumulate(), {dims.batch.tokens, dims.key_dim / 2, 2});
  decays_.clear();
  decay_of_layer_.clear();
  for (int64_t layer = 0; layer < dims.model.layers; ++layer) {
    std::vector<double> mine = log2_gammas(dims.model.decay, dims.model.heads, dims.first_head, dims.heads);
    const auto same = std::find_if(decays_.begin(), decays_.end(),
                                   [&](const DecayTable& table) { return table.log2_gammas == mine; });
    decay_of_layer_.push_back(static_cast<size_t>(same - decays_.begin()));
    if (same == decays_.end()) decays_.push_back({std::move(mine), arena.take(DType::kFloat64, {dims.heads})});
  }
}

void RetentionTables::write(Backend& backend, int64_t position_offset) const {
  for (const DecayTable& table : decays_) upload_rounded(backend, table.view, table.log2_gammas);
  upload_rounded(backend, frequencies_, rotation_frequencies(rotary_, 2 * frequencies_.shape[0]));
  set_position_offset(backend, position_offset);
}

void RetentionTables::set_position_offset(Backend& backend, int64_t offset) const {
  backend.rotation_table({.theta = frequencies_, .table = rotation_, .offset = offset});
}

void RetentionTables::set_positions(Backend& backend, const TensorView& positions) const {
  backend.rotation_table(
      {.theta = frequencies_, .table = rotation_.slice(0, 0, positions.shape[0]), .positions = positions});
}

}  // namespace retain
