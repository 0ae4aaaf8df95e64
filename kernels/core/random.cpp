#include "kernels/core/random.h"

#include <xxhash.h>

namespace retain {

uint64_t stream_key(uint64_t seed, std::string_view name) {
  return XXH3_64bits_withSeed(name.data(), name.size(), seed);
}

}  // namespace retain
