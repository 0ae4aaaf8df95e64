#include "trainer/inference/sampling.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/core/error.h"
#include "kernels/core/random.h"

namespace retain {

int32_t sample_token(const std::vector<double>& logits, const SamplingOptions& options, uint64_t index) {
  std::vector<int32_t> order;  // of the tokens that can be drawn
  for (size_t i = 0; i < logits.size(); ++i) {
    if (std::isnan(logits[i]) || logits[i] == std::numeric_limits<double>::infinity())
      throw Error(ErrorKind::kData,
                  concat("the model's logit of token ", i, " is ", logits[i], ": its weights are broken"));
    if (std::isfinite(logits[i])) order.push_back(static_cast<int32_t>(i));
  }
  if (order.empty()) throw Error(ErrorKind::kData, "there is no token that can be drawn");
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return logits[a] > logits[b]; });
  if (options.temperature <= 0) return order[0];

  std::vector<double> weights(order.size());
  double total = 0;
  for (size_t i = 0; i < order.size(); ++i) {
    weights[i] = std::exp((logits[order[i]] - logits[order[0]]) / options.temperature);
    total += weights[i];
  }
  size_t kept = 0;
  double mass = 0;
  while (kept < order.size() && (kept == 0 || mass < options.top_p * total)) mass += weights[kept++];

  const double uniform = static_cast<double>(philox_bits(stream_key(options.seed, "sampler"), index) >> 11) * 0x1p-53;
  double left = uniform * mass;
  for (size_t i = 0; i < kept; ++i) {
    left -= weights[i];
    if (left < 0) return order[i];
  }
  return order[kept - 1];
}

}  // namespace retain
