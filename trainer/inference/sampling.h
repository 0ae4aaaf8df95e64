// Draws the token that follows from a model's logits, on the host, as devices do (sample_tokens in kernels/ops.h).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace retain {

struct SamplingOptions {
  double temperature = 1;  ///< divides the logits; 0: always the likeliest token
  int64_t top_k = 0;       ///< keep the k likeliest; 0: all
  double top_p = 1;        ///< of those the fewest of the likeliest whose probabilities reach this share of theirs
  double min_p = 0;        ///< and those at least so likely as this share of the likeliest
  double repetition_penalty = 1;  ///< divides positive logits of tokens that were seen, multiplies negative ones
  uint64_t seed = 1;

  bool operator==(const SamplingOptions&) const = default;
};

/// Which tokens a sequence has had: what the repetition penalty makes less likely (Keskar et al. 2019, section 4.1).
class SeenTokens {
 public:
  explicit SeenTokens(int64_t vocab_size) : seen_(static_cast<size_t>(vocab_size), 0) {}
  void add(std::span<const int32_t> tokens) {
    for (const int32_t token : tokens) seen_[static_cast<size_t>(token)] = 1;
  }
  /// Changes the logits [vocab_size] of those that were seen.
  void penalize(std::span<float> logits, double penalty) const;
  /// A byte a token: 1 where it was seen.
  std::vector<uint8_t>& bytes() { return seen_; }
  const std::vector<uint8_t>& bytes() const { return seen_; }

 private:
  std::vector<uint8_t> seen_;
};

/// Draws a token from logits; a pure function of (logits, options but the penalty, index): what sample_tokens draws of
/// a row with these options in float32, the seed's key and `index` for the position. A logit of -infinity is that of a
/// token that cannot be drawn. Throws Error(kData) when no token can, or when a logit is NaN or infinite: the model is
/// broken.
int32_t sample_token(std::span<const float> logits, const SamplingOptions& options, uint64_t index);

}  // namespace retain
