// Counter-based random numbers (Philox4x32-10, Salmon et al. 2011): a value is a function of (key, counter)
// alone, so any shard, on any backend, draws its own part of a tensor. Host and device share this header.
#pragma once

#include <cmath>
#include <cstdint>
#include <string_view>

#ifdef __CUDACC__
#define RETAIN_HOST_DEVICE __host__ __device__
#else
#define RETAIN_HOST_DEVICE
#endif

namespace retain {

struct Philox4 {
  uint32_t x[4];
};

/// Ten rounds of Philox4x32 of the 128-bit counter (low and high half) under the 64-bit key.
RETAIN_HOST_DEVICE inline Philox4 philox4x32(uint64_t key, uint64_t counter, uint64_t counter_high = 0) {
  uint32_t k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
  uint32_t c0 = static_cast<uint32_t>(counter), c1 = static_cast<uint32_t>(counter >> 32);
  uint32_t c2 = static_cast<uint32_t>(counter_high), c3 = static_cast<uint32_t>(counter_high >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53} * c0, p1 = uint64_t{0xCD9E8D57} * c2;
    const uint32_t n0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ k0, n2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c1 = static_cast<uint32_t>(p1);
    c3 = static_cast<uint32_t>(p0);
    c0 = n0;
    c2 = n2;
    k0 += 0x9E3779B9U;
    k1 += 0xBB67AE85U;
  }
  return {{c0, c1, c2, c3}};
}

/// Standard normal number `index` of the stream `key`: Box-Muller in float64 on the first two words of the
/// Philox block `index`, so that CPU and GPU agree after rounding to float32.
RETAIN_HOST_DEVICE inline double philox_normal(uint64_t key, uint64_t index) {
  const Philox4 r = philox4x32(key, index);
  const double u1 = (r.x[0] + 1.0) * 0x1p-32, u2 = r.x[1] * 0x1p-32;  // u1 in (0, 1]
  return std::sqrt(-2.0 * std::log(u1)) * std::cos(6.283185307179586476925286766559 * u2);
}

/// Uniform 64-bit number `index` of the stream `key`.
RETAIN_HOST_DEVICE inline uint64_t philox_bits(uint64_t key, uint64_t index) {
  const Philox4 r = philox4x32(key, index);
  return (static_cast<uint64_t>(r.x[1]) << 32) | r.x[0];
}

/// Key of a named stream: a tensor's initial weights, the order of the data, the sampler.
uint64_t stream_key(uint64_t seed, std::string_view name);

}  // namespace retain
