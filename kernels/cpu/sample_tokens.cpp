#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/core/sampling.h"
#include "kernels/cpu/cpu_backend.h"

namespace retain::cpu {
namespace {

constexpr int32_t kNone = -1;

/// From the weights of all tokens in the order of their numbers.
int32_t draw(const std::vector<uint64_t>& weights, const SamplingFilter& filter, uint64_t key, uint32_t position,
             uint64_t total) {
  uint64_t above = 0, left = total;  // those of a greater weight are candidates, and have so much
  for (uint32_t attempt = 0;; ++attempt) {
    uint64_t drawn = sampling_draw(key, position, attempt, left);
    size_t token = 0;
    for (;; ++token) {
      if (weights[token] <= above) continue;
      if (drawn < weights[token]) break;
      drawn -= weights[token];
    }
    int32_t likelier = 0;
    uint64_t before = 0;
    for (const uint64_t weight : weights) {
      if (weight <= weights[token]) continue;
      ++likelier;
      before += weight;
    }
    if (filter.keeps(weights[token], likelier, before)) return static_cast<int32_t>(token);
    above = weights[token];  // nor are those that are no likelier
    left = before;
  }
}

int32_t sample(const std::vector<float>& logits, const float* options, int32_t top_k, uint64_t key, uint32_t position) {
  float most = -std::numeric_limits<float>::infinity();
  size_t likeliest = 0;
  for (size_t j = 0; j < logits.size(); ++j) {
    if (std::isnan(logits[j]) || logits[j] == std::numeric_limits<float>::infinity()) return kNone;
    if (logits[j] > most) {
      most = logits[j];
      likeliest = j;
    }
  }
  if (most == -std::numeric_limits<float>::infinity()) return kNone;
  if (options[0] < kLeastTemperature) return static_cast<int32_t>(likeliest);
  const float scale = sampling_scale(options[0]);
  std::vector<uint64_t> weights(logits.size());
  uint64_t total = 0;
  for (size_t j = 0; j < logits.size(); ++j) total += weights[j] = sampling_weight(logits[j], most, scale);
  return draw(weights, SamplingFilter(options[1], options[2], top_k, total), key, position, total);
}

template <class T>
void sample_tokens_typed(const SampleTokensArgs& a, ThreadPool* threads) {
  const Matrix<T> logits(a.logits);
  const Vector<const int32_t> top_k(a.top_k), positions(a.positions), places(a.places);
  const Vector<int32_t> tokens(a.tokens);
  const auto* keys = a.keys.as<int32_t>();
  const uint8_t* drawable = a.drawable ? a.drawable.as<uint8_t>() : nullptr;
  parallel_items(threads, logits.rows, [&](int64_t i, int) {
    if (places[i] < 0) return;
    std::vector<float> row(logits.row(i), logits.row(i) + logits.columns);
    for (size_t j = 0; drawable && j < row.size(); ++j) {
      if (!drawable[j]) row[j] = -std::numeric_limits<float>::infinity();
    }
    const uint64_t key =
        (static_cast<uint64_t>(static_cast<uint32_t>(keys[2 * i + 1])) << 32) | static_cast<uint32_t>(keys[2 * i]);
    tokens[places[i]] = sample(row, a.options.as<float>() + 3 * i, top_k[i], key, static_cast<uint32_t>(positions[i]));
  });
}

}  // namespace

void CpuBackend::do_sample_tokens(const SampleTokensArgs& a) {
  dispatch(a.logits.dtype, [&]<class T>(T) { sample_tokens_typed<T>(a, threads_for(a.logits.elements())); });
}

}  // namespace retain::cpu
