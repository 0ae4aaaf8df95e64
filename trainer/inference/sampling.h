// Draws the token that follows from a model's logits, on the host.
#pragma once

#include <cstdint>
#include <vector>

namespace retain {

struct SamplingOptions {
  double temperature = 1;  ///< 0: always the likeliest token
  double top_p = 1;        ///< keep the smallest set of tokens whose probabilities reach this
  uint64_t seed = 1;
};

/// Draws a token from logits; a pure function of (logits, options, index): number `index` of the sampler's stream. A
/// logit of -infinity is that of a token that cannot be drawn. Throws Error(kData) when no token can, or when a logit
/// is NaN or infinite: the model is broken.
int32_t sample_token(const std::vector<double>& logits, const SamplingOptions& options, uint64_t index);

}  // namespace retain
