#include "trainer/inference/sampling.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/core/error.h"
#include "kernels/core/random.h"
#include "kernels/core/sampling.h"

namespace retain {

namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();

/// The first of the largest logits.
size_t likeliest(std::span<const float> logits) {
  size_t best = 0;
  for (size_t i = 0; i < logits.size(); ++i) {
    if (std::isnan(logits[i]) || logits[i] == std::numeric_limits<float>::infinity())
      throw Error(ErrorKind::kData,
                  concat("the model's logit of token ", i, " is ", logits[i], ": its weights are broken"));
    if (logits[i] > logits[best]) best = i;
  }
  if (logits.empty() || logits[best] == kNever) throw Error(ErrorKind::kData, "there is no token that can be drawn");
  return best;
}

/// What a row of sample_tokens draws from weights in the order of the tokens' numbers.
int32_t draw(const std::vector<uint64_t>& weights, const SamplingFilter& filter, uint64_t key, uint32_t position,
             uint64_t total) {
  uint64_t above = 0, left = total;  // those of a greater weight are candidates, and have so much
  for (uint32_t attempt = 0;; ++attempt) {
    uint64_t drawn = sampling_draw(key, position, attempt, left);
    size_t token = 0;
    for (; weights[token] <= above || drawn >= weights[token]; ++token)
      if (weights[token] > above) drawn -= weights[token];
    const uint64_t weight = weights[token];
    int32_t likelier = 0;
    uint64_t before = 0;
    for (const uint64_t other : weights) {
      likelier += other > weight ? 1 : 0;
      before += other > weight ? other : 0;
    }
    if (filter.keeps(weight, likelier, before)) return static_cast<int32_t>(token);
    above = weight;  // nor is kept what is no likelier
    left = before;
  }
}

}  // namespace

void SeenTokens::penalize(std::span<float> logits, double penalty) const {
  if (penalty == 1) return;
  for (size_t i = 0; i < seen_.size(); ++i) {
    if (seen_[i] == 0) continue;
    const double z = logits[i];
    logits[i] = static_cast<float>(z > 0 ? z / penalty : z * penalty);
  }
}

int32_t sample_token(std::span<const float> logits, const SamplingOptions& options, uint64_t index) {
  const size_t best = likeliest(logits);
  const auto temperature = static_cast<float>(options.temperature);
  if (temperature < kLeastTemperature) return static_cast<int32_t>(best);
  const float scale = sampling_scale(temperature);
  std::vector<uint64_t> weights;
  uint64_t total = 0;
  for (const float z : logits) total += weights.emplace_back(sampling_weight(z, logits[best], scale));
  const auto top_k = static_cast<int32_t>(std::min<int64_t>(options.top_k, std::ssize(logits)));
  const SamplingFilter filter(static_cast<float>(options.top_p), static_cast<float>(options.min_p), top_k, total);
  return draw(weights, filter, stream_key(options.seed, "sampler"), static_cast<uint32_t>(index), total);
}

}  // namespace retain
