// How likely tokens are, in whole numbers, and what is drawn from them (sample_tokens in kernels/ops.h): the host and
// every device come to the same token. Shared by host and device.
#pragma once

#include <cstdint>

#include "kernels/core/random.h"

namespace retain {

/// The weight of the likeliest token.
inline constexpr int kLog2MostWeight = 40;

/// From how many logits to halvings, times 2^24.
RETAIN_HOST_DEVICE inline float sampling_scale(float temperature) { return (1.44269504F * 16777216.0F) / temperature; }

/// 2^40 · 2^(−(z_max − z) scale / 2^24) in whole numbers, to a relative error of 1e-7; 0 below 1. Subtraction and
/// product are each rounded once on every device, and what follows is of whole numbers: 2^−f of the fraction f by its
/// Taylor polynomial in ln 2 · f, which ends on a positive term so that it nowhere grows with f.
RETAIN_HOST_DEVICE inline uint64_t sampling_weight(float z, float z_max, float scale) {
  const float halvings = (z_max - z) * scale;
  if (!(halvings < kLog2MostWeight * 16777216.0F)) return 0;
  const auto fixed = static_cast<uint32_t>(halvings);
  const uint64_t f = uint64_t{fixed & 0xffffffU} << 8;  // of 2^32
  // (ln 2)^k / k! of 2^31, k = 8 … 0
  constexpr uint32_t kTerms[] = {2838, 32755, 330788, 2863360, 20654775, 119194166, 515882496, 1488522236, 2147483648U};
  uint64_t sum = kTerms[0];
#ifdef __CUDA_ARCH__
#pragma unroll
#endif
  for (int k = 1; k <= 8; ++k) sum = kTerms[k] - ((sum * f) >> 32);
  return (sum << (kLog2MostWeight - 31)) >> (fixed >> 24);
}

/// The high half of the product of two numbers: floor(x y / 2^64).
RETAIN_HOST_DEVICE inline uint64_t multiply_high(uint64_t x, uint64_t y) {
#ifdef __CUDA_ARCH__
  return __umul64hi(x, y);
#else
  __extension__ using Wide = unsigned __int128;
  return static_cast<uint64_t>((static_cast<Wide>(x) * y) >> 64);
#endif
}

/// Of so much weight, what attempt number `attempt` at the token of this position draws: evenly from 0 to weight − 1.
RETAIN_HOST_DEVICE inline uint64_t sampling_draw(uint64_t key, uint32_t position, uint32_t attempt, uint64_t weight) {
  const Philox4 r = philox4x32(key, position, attempt);
  return multiply_high((static_cast<uint64_t>(r.x[1]) << 32) | r.x[0], weight);
}

/// What a row keeps.
struct SamplingFilter {
  int32_t top_k;         ///< 0: any number
  uint64_t most_before;  ///< weight that those likelier than a token have less than
  uint64_t least;        ///< weight of a token

  RETAIN_HOST_DEVICE SamplingFilter(float top_p, float min_p, int32_t top_k_in, uint64_t total)
      : top_k(top_k_in),
        most_before(top_p < 1 ? static_cast<uint64_t>(static_cast<double>(top_p) * static_cast<double>(total)) : total),
        least(min_p > 0 ? static_cast<uint64_t>(static_cast<double>(min_p) * 1099511627776.0) : 0) {}
  RETAIN_HOST_DEVICE bool keeps_all(uint64_t total) const { return top_k <= 0 && most_before >= total && least == 0; }
  /// A token of this weight, where so many tokens of so much weight are likelier.
  RETAIN_HOST_DEVICE bool keeps(uint64_t weight, int32_t likelier, uint64_t weight_before) const {
    return likelier == 0 || ((top_k <= 0 || likelier < top_k) && weight_before < most_before && weight >= least);
  }
};

/// Below this temperature the likeliest token is taken.
inline constexpr float kLeastTemperature = 1e-6F;

}  // namespace retain
