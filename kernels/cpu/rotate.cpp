#include <cmath>

#include "kernels/cpu/cpu_backend.h"

namespace retain::cpu {
namespace {

/// Rotates the pairs (j, j + half) of one head of one token; y may be x. `sign` is -1 for the inverse.
template <class T>
RETAIN_INLINE void rotate_row(const T* x, T* y, const T* cos_sin, int64_t half, T scale, T sign) {
#pragma omp simd
  for (int64_t j = 0; j < half; ++j) {
    const T c = scale * cos_sin[2 * j], s = scale * sign * cos_sin[2 * j + 1], a = x[j], b = x[j + half];
    y[j] = a * c - b * s;
    y[j + half] = b * c + a * s;
  }
}

RETAIN_CLONES void row(const float* x, float* y, const float* cos_sin, int64_t half, float scale, float sign) {
  rotate_row(x, y, cos_sin, half, scale, sign);
}
RETAIN_CLONES void row(const double* x, double* y, const double* cos_sin, int64_t half, double scale, double sign) {
  rotate_row(x, y, cos_sin, half, scale, sign);
}

template <class T>
void rotate_typed(const RotateArgs& a, ThreadPool* threads) {
  const HeadRows<T> x(a.x), y(a.y);
  const T* table = a.table.as<T>();
  const T sign = a.inverse ? T{-1} : T{1};
  parallel_for(threads, x.batch * x.tokens, [&](int64_t i) {
    const int64_t b = i / x.tokens, t = i % x.tokens;
    for (int64_t h = 0; h < x.heads; ++h) {
      double scale = a.scale;
      if (a.fold_chunk > 0) {
        const double exponent = a.fold_sign * static_cast<double>(t % a.fold_chunk);
        scale *= std::exp2(exponent * Vector<const double>(a.log2_gamma)[h]);
      }
      row(x.at(b, t, h), y.at(b, t, h), table + t * x.width, x.width / 2, static_cast<T>(scale), sign);
    }
  });
}

}  // namespace

void CpuBackend::do_rotate(const RotateArgs& a) {
  dispatch(a.x.dtype, [&]<class T>(T) { rotate_typed<T>(a, threads_for(a.x.elements())); });
}

}  // namespace retain::cpu
