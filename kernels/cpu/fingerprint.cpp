// 64 bits that tell whether bits changed: contract in kernels/ops.h.
#include <algorithm>
#include <bit>
#include <cstring>

#include "kernels/core/fingerprint_mix.h"
#include "kernels/cpu/cpu_backend.h"

namespace retain::cpu {
namespace {

uint64_t bits_of(float x) { return std::bit_cast<uint32_t>(x); }
uint64_t bits_of(double x) { return std::bit_cast<uint64_t>(x); }
uint64_t bits_of(Bfloat16 x) { return x.bits; }

template <class T>
RETAIN_INLINE uint64_t sum_of(uint64_t key, int64_t index, const T* x, int64_t n) {
  uint64_t sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += fingerprint_mix(key, index + i, bits_of(x[i]));
  return sum;
}

RETAIN_CLONES uint64_t sum_row(uint64_t key, int64_t index, const float* x, int64_t n) {
  return sum_of(key, index, x, n);
}
RETAIN_CLONES uint64_t sum_row(uint64_t key, int64_t index, const double* x, int64_t n) {
  return sum_of(key, index, x, n);
}
RETAIN_CLONES uint64_t sum_row(uint64_t key, int64_t index, const Bfloat16* x, int64_t n) {
  return sum_of(key, index, x, n);
}

template <class T>
uint64_t sum_elements(const FingerprintArgs& a, int64_t begin, int64_t end) {
  const int64_t columns = a.x.shape[1];
  const T* const x = static_cast<const T*>(a.x.data);
  uint64_t sum = 0;
  while (begin < end) {
    const int64_t row = begin / columns, column = begin % columns, count = std::min(end - begin, columns - column);
    sum += sum_row(a.key, a.first_index + row * a.row_step + column, x + begin, count);
    begin += count;
  }
  return sum;
}

uint64_t sum_elements(const FingerprintArgs& a, int64_t begin, int64_t end) {
  switch (a.x.dtype) {
    case DType::kFloat64: return sum_elements<double>(a, begin, end);
    case DType::kBfloat16: return sum_elements<Bfloat16>(a, begin, end);
    default: return sum_elements<float>(a, begin, end);
  }
}

}  // namespace

void CpuBackend::do_fingerprint(const FingerprintArgs& a) {
  const int64_t n = a.x.elements(), blocks = (n + kReduceBlockElements - 1) / kReduceBlockElements;
  auto* partial = static_cast<uint64_t*>(scratch((blocks + 1) * int64_t{sizeof(uint64_t)}));
  parallel_for(threads_for(n), blocks, [&](int64_t block) {
    const int64_t begin = block * kReduceBlockElements;
    partial[block] = sum_elements(a, begin, std::min(n, begin + kReduceBlockElements));
  });
  uint64_t sum = 0;
  std::memcpy(&sum, a.out.data, sizeof(sum));
  for (int64_t block = 0; block < blocks; ++block) sum += partial[block];
  std::memcpy(a.out.data, &sum, sizeof(sum));
}

}  // namespace retain::cpu
