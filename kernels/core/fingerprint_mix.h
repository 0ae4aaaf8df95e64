// What one element adds to a fingerprint, on the host and on GPUs: FingerprintArgs in kernels/ops.h has the formula.
#pragma once

#include <cstdint>

#ifdef __CUDACC__
#define RETAIN_EVERYWHERE __host__ __device__
#else
#define RETAIN_EVERYWHERE
#endif

namespace retain {

RETAIN_EVERYWHERE inline uint64_t fingerprint_mix(uint64_t key, int64_t index, uint64_t bits) {
  const uint64_t z = (key + static_cast<uint64_t>(index) * 0x9e3779b97f4a7c15ULL) ^ bits;
  const uint64_t y = (z ^ (z >> 32)) * 0xd6e8feb86659fd93ULL;
  return y ^ (y >> 29);
}

}  // namespace retain

#undef RETAIN_EVERYWHERE
