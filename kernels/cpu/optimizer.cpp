// The operations of the optimizer step: gradients that arrive, sums over them, the clip scale, AdamW.
#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/cpu/cpu_backend.h"

namespace retain::cpu {
namespace {

template <class T>
RETAIN_INLINE double sum_block(ReduceKind kind, const T* x, int64_t n) {
  double sum = 0;
  if (kind == ReduceKind::kSum) {
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; ++i) sum += x[i];
  } else {
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; ++i) sum += static_cast<double>(x[i]) * x[i];
  }
  return sum;
}

/// What is the same for every element of an update.
template <class T>
struct AdamwStep {
  T grad_scale, beta1, beta2, m_correction, v_correction, lr, eps, weight_decay;
};

template <class T>
RETAIN_INLINE void adamw_range(const AdamwStep<T>& s, const T* gradient, T* master, T* m, T* v, T* weight, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const T g = gradient[i] * s.grad_scale, w = master[i];
    const T m_new = s.beta1 * m[i] + (T{1} - s.beta1) * g;
    const T v_new = s.beta2 * v[i] + (T{1} - s.beta2) * g * g;
    m[i] = m_new;
    v[i] = v_new;
    const T update = m_new * s.m_correction / (std::sqrt(v_new * s.v_correction) + s.eps);
    const T w_new = w - s.lr * (update + s.weight_decay * w);
    master[i] = w_new;
    weight[i] = w_new;
  }
}

RETAIN_CLONES double sum_of(ReduceKind kind, const float* x, int64_t n) { return sum_block(kind, x, n); }
RETAIN_CLONES double sum_of(ReduceKind kind, const double* x, int64_t n) { return sum_block(kind, x, n); }
RETAIN_CLONES void update(const AdamwStep<float>& s, const float* gradient, float* master, float* m, float* v,
                          float* weight, int64_t n) {
  adamw_range(s, gradient, master, m, v, weight, n);
}
RETAIN_CLONES void update(const AdamwStep<double>& s, const double* gradient, double* master, double* m, double* v,
                          double* weight, int64_t n) {
  adamw_range(s, gradient, master, m, v, weight, n);
}

constexpr int64_t kBlock = 1 << 12;  ///< elements of one task of a sum or an update

template <class T>
void adamw_typed(const AdamwArgs& a, double grad_scale, ThreadPool* threads) {
  const auto* rates = a.rates.as<double>();
  const AdamwStep<T> step{
      static_cast<T>(grad_scale), static_cast<T>(a.beta1),  static_cast<T>(a.beta2), static_cast<T>(rates[1]),
      static_cast<T>(rates[2]),   static_cast<T>(rates[0]), static_cast<T>(a.eps),   static_cast<T>(a.weight_decay),
  };
  const int64_t n = a.gradient.shape[0];
  parallel_for(threads, (n + kBlock - 1) / kBlock, [&](int64_t block) {
    const int64_t i = block * kBlock;
    update(step, a.gradient.as<T>() + i, a.master.as<T>() + i, a.m.as<T>() + i, a.v.as<T>() + i, a.weight.as<T>() + i,
           std::min(kBlock, n - i));
  });
}

}  // namespace

void CpuBackend::do_add(const AddArgs& a) {
  const int64_t n = a.y.elements();
  const auto* x = a.x.as<Bfloat16>();
  dispatch(a.y.dtype, [&]<class T>(T) {
    T* y = a.y.as<T>();
    parallel_for(threads_for(n), (n + kBlock - 1) / kBlock, [&](int64_t block) {
      const int64_t end = std::min(n, (block + 1) * kBlock);
      for (int64_t i = block * kBlock; i < end; ++i) y[i] += x[i].to_float();
    });
  });
}

void CpuBackend::do_reduce(const ReduceArgs& a) {
  const int64_t n = a.x.elements(), blocks = (n + kReduceBlockElements - 1) / kReduceBlockElements;
  auto* partial = static_cast<double*>(scratch((blocks + 1) * int64_t{sizeof(double)}));
  dispatch(a.x.dtype, [&]<class T>(T) {
    const T* x = a.x.as<T>();
    parallel_for(threads_for(n), blocks, [&](int64_t block) {
      const int64_t begin = block * kReduceBlockElements;
      partial[block] = sum_of(a.kind, x + begin, std::min(kReduceBlockElements, n - begin));
    });
  });
  double sum = 0;
  for (int64_t block = 0; block < blocks; ++block) sum += partial[block];
  double* out = a.out.as<double>();
  *out = a.accumulate ? *out + sum : sum;
}

void CpuBackend::do_clip_scale(const ClipScaleArgs& a) {
  const double norm = std::sqrt(*a.sum_of_squares.as<double>());
  *a.norm.as<double>() = norm;
  double scale = std::numeric_limits<double>::quiet_NaN();
  const double loss = a.loss ? *a.loss.as<double>() : 0;
  const double* limits = a.limits ? a.limits.as<double>() : nullptr;
  const bool within = !limits || (norm <= limits[0] && loss <= limits[1]);
  const bool usable = std::isfinite(norm) && std::isfinite(loss) && within;
  if (usable) scale = a.max_norm > 0 && norm > a.max_norm ? a.max_norm / norm : 1;
  *a.scale.as<double>() = scale;
}

void CpuBackend::do_adamw(const AdamwArgs& a) {
  const double grad_scale = *a.grad_scale.as<double>();
  if (!std::isfinite(grad_scale)) return;
  dispatch(a.weight.dtype, [&]<class T>(T) { adamw_typed<T>(a, grad_scale, threads_for(a.weight.elements())); });
}

}  // namespace retain::cpu
