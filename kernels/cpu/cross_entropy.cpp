#include <algorithm>
#include <limits>

#include "kernels/cpu/vector_math.h"

namespace retain::cpu {
namespace {

template <class T>
RETAIN_INLINE T row_max(const T* z, int64_t n) {
  T max = -std::numeric_limits<T>::infinity();
#pragma omp simd reduction(max : max)
  for (int64_t j = 0; j < n; ++j) max = z[j] > max ? z[j] : max;
  return max;
}

/// Σ exp(z − shift).
template <class T>
RETAIN_INLINE double row_sum_exp(const T* z, T shift, int64_t n) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t j = 0; j < n; ++j) sum += exp_of(z[j] - shift);
  return sum;
}

/// z = exp(z − shift) in place; returns the sum.
template <class T>
RETAIN_INLINE double row_exp(T* z, T shift, int64_t n) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t j = 0; j < n; ++j) {
    z[j] = exp_of(z[j] - shift);
    sum += z[j];
  }
  return sum;
}

template <class T>
RETAIN_INLINE void row_scale(T* z, T factor, int64_t n) {
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) z[j] *= factor;
}

RETAIN_CLONES float max_of(const float* z, int64_t n) { return row_max(z, n); }
RETAIN_CLONES double max_of(const double* z, int64_t n) { return row_max(z, n); }
RETAIN_CLONES double sum_exp(const float* z, float shift, int64_t n) { return row_sum_exp(z, shift, n); }
RETAIN_CLONES double sum_exp(const double* z, double shift, int64_t n) { return row_sum_exp(z, shift, n); }
RETAIN_CLONES double exp_in_place(float* z, float shift, int64_t n) { return row_exp(z, shift, n); }
RETAIN_CLONES double exp_in_place(double* z, double shift, int64_t n) { return row_exp(z, shift, n); }
RETAIN_CLONES void scale_in_place(float* z, float factor, int64_t n) { row_scale(z, factor, n); }
RETAIN_CLONES void scale_in_place(double* z, double factor, int64_t n) { row_scale(z, factor, n); }

/// The maximum, the sum of exponentials relative to it, and the target's logit, over the whole vocabulary.
struct RowStatistics {
  double max, sum, target;

  double loss() const { return max + std::log(sum) - target; }
};

template <class T>
RowStatistics join(const TensorView& gathered, int64_t row) {
  const T* data = gathered.as<T>() + row * gathered.stride[1];
  const int64_t ranks = gathered.shape[0], step = gathered.stride[0];
  RowStatistics all{-std::numeric_limits<double>::infinity(), 0, 0};
  for (int64_t p = 0; p < ranks; ++p) all.max = std::max(all.max, static_cast<double>(data[p * step]));
  for (int64_t p = 0; p < ranks; ++p) {
    const T* part = data + p * step;
    all.sum += part[1] * std::exp(part[0] - all.max);  // 0 · exp(−inf) for a rank of padding alone
    all.target += part[2];
  }
  return all;
}

template <class T>
void statistics(const CrossEntropyStatisticsArgs& a, ThreadPool* threads) {
  const Matrix<T> logits(a.logits), out(a.statistics);
  const Vector<const int32_t> targets(a.targets);
  parallel_for(threads, logits.rows, [&](int64_t i) {
    const T* z = logits.row(i);
    const T max = max_of(z, a.valid);
    const int64_t target = targets[i] - a.first_column;
    const bool here = targets[i] >= 0 && target >= 0 && target < a.valid;
    out.row(i)[0] = max;
    out.row(i)[1] = a.valid > 0 ? static_cast<T>(sum_exp(z, max, a.valid)) : T{0};
    out.row(i)[2] = here ? z[target] : T{0};
  });
}

template <class T>
void cross_entropy_row(const CrossEntropyArgs& a, double scale, int64_t i, T* z, int64_t columns, int32_t target,
                       T& loss) {
  if (target < 0) {
    loss = T{0};
    if (a.gradient) std::fill_n(z, columns, T{0});
    return;
  }
  const int64_t local = target - a.first_column;
  const bool here = local >= 0 && local < a.valid;
  if (a.gathered) {
    const RowStatistics s = join<T>(a.gathered, i);
    loss = static_cast<T>(s.loss());
    if (!a.gradient) return;
    exp_in_place(z, static_cast<T>(s.max), a.valid);
    scale_in_place(z, static_cast<T>(scale / s.sum), a.valid);
  } else {
    RowStatistics s{max_of(z, a.valid), 0, here ? z[local] : T{0}};
    const T max = static_cast<T>(s.max);
    s.sum = a.gradient ? exp_in_place(z, max, a.valid) : sum_exp(z, max, a.valid);
    loss = static_cast<T>(s.loss());
    if (!a.gradient) return;
    scale_in_place(z, static_cast<T>(scale / s.sum), a.valid);
  }
  if (here) z[local] -= static_cast<T>(scale);
  std::fill(z + a.valid, z + columns, T{0});
}

}  // namespace

void CpuBackend::do_cross_entropy_statistics(const CrossEntropyStatisticsArgs& a) {
  dispatch(a.logits.dtype, [&]<class T>(T) { statistics<T>(a, threads_for(a.logits.elements())); });
}

void CpuBackend::do_cross_entropy(const CrossEntropyArgs& a) {
  dispatch(a.logits.dtype, [&]<class T>(T) {
    const Matrix<T> logits(a.logits);
    const Vector<const int32_t> targets(a.targets);
    const Vector<T> loss(a.loss);
    const double scale = a.scale ? *a.scale.as<double>() : 1;
    parallel_for(threads_for(a.logits.elements()), logits.rows, [&](int64_t i) {
      cross_entropy_row<T>(a, scale, i, logits.row(i), logits.columns, targets[i], loss[i]);
    });
  });
}

}  // namespace retain::cpu
