#include <algorithm>

#include "kernels/cpu/vector_math.h"

namespace retain::cpu {
namespace {

/// s = x + residual, y = weight ⊙ s · rstd; returns rstd. residual and sum are null when there is no residual.
template <class T>
RETAIN_INLINE double norm_row(const T* x, const T* residual, const T* weight, T* sum, T* y, int64_t d, double eps) {
  if (residual) {
#pragma omp simd
    for (int64_t j = 0; j < d; ++j) sum[j] = x[j] + residual[j];
    x = sum;
  }
  double squares = 0;
#pragma omp simd reduction(+ : squares)
  for (int64_t j = 0; j < d; ++j) squares += static_cast<double>(x[j]) * x[j];
  const double rstd = 1 / std::sqrt(squares / static_cast<double>(d) + eps);
  const T r = static_cast<T>(rstd);
#pragma omp simd
  for (int64_t j = 0; j < d; ++j) y[j] = weight[j] * (x[j] * r);
  return rstd;
}

/// dx of one row, and its part of dweight added to `partial`. dx may be dy or dresidual.
template <class T>
RETAIN_INLINE void norm_backward_row(const T* dy, const T* x, const T* weight, T rstd, const T* dresidual, T* dx,
                                     double* partial, int64_t d) {
  double dot = 0;
#pragma omp simd reduction(+ : dot)
  for (int64_t j = 0; j < d; ++j) {
    const T dy_xhat = dy[j] * (x[j] * rstd);
    partial[j] += dy_xhat;
    dot += static_cast<double>(weight[j] * dy_xhat);
  }
  const T mean = static_cast<T>(dot / static_cast<double>(d));
  if (dresidual) {
#pragma omp simd
    for (int64_t j = 0; j < d; ++j) dx[j] = dresidual[j] + rstd * (weight[j] * dy[j] - x[j] * rstd * mean);
  } else {
#pragma omp simd
    for (int64_t j = 0; j < d; ++j) dx[j] = rstd * (weight[j] * dy[j] - x[j] * rstd * mean);
  }
}

RETAIN_CLONES double row(const float* x, const float* residual, const float* weight, float* sum, float* y, int64_t d,
                         double eps) {
  return norm_row(x, residual, weight, sum, y, d, eps);
}
RETAIN_CLONES double row(const double* x, const double* residual, const double* weight, double* sum, double* y,
                         int64_t d, double eps) {
  return norm_row(x, residual, weight, sum, y, d, eps);
}
RETAIN_CLONES void backward_row(const float* dy, const float* x, const float* weight, float rstd,
                                const float* dresidual, float* dx, double* partial, int64_t d) {
  norm_backward_row(dy, x, weight, rstd, dresidual, dx, partial, d);
}
RETAIN_CLONES void backward_row(const double* dy, const double* x, const double* weight, double rstd,
                                const double* dresidual, double* dx, double* partial, int64_t d) {
  norm_backward_row(dy, x, weight, rstd, dresidual, dx, partial, d);
}

template <class T>
void rms_norm_typed(const RmsNormArgs& a, ThreadPool* threads) {
  const Matrix<T> x(a.x), residual(a.residual), sum(a.sum), y(a.y);
  const Vector<T> rstd(a.rstd);
  const T* weight = a.weight.as<T>();
  parallel_for(threads, x.rows, [&](int64_t i) {
    rstd[i] = static_cast<T>(row(x.row(i), residual.row(i), weight, sum.row(i), y.row(i), x.columns, a.eps));
  });
}

template <class T>
void rms_norm_backward_typed(const RmsNormBackwardArgs& a, ThreadPool* threads, double* partial) {
  const Matrix<T> dy(a.dy), x(a.x), dresidual(a.dresidual), dx(a.dx);
  const Vector<const T> rstd(a.rstd);
  const T* weight = a.weight.as<T>();
  const int64_t d = x.columns;
  parallel_for(threads, kReductionBlocks, [&](int64_t block) {
    double* mine = partial + block * d;
    std::fill_n(mine, d, 0.0);
    for (int64_t i = block_begin(x.rows, block); i < block_begin(x.rows, block + 1); ++i) {
      backward_row(dy.row(i), x.row(i), weight, rstd[i], dresidual.row(i), dx.row(i), mine, d);
    }
  });
  T* dweight = a.dweight.as<T>();
  for (int64_t j = 0; j < d; ++j) {
    double sum = 0;
    for (int64_t block = 0; block < kReductionBlocks; ++block) sum += partial[block * d + j];
    dweight[j] += static_cast<T>(sum);
  }
}

}  // namespace

void CpuBackend::do_rms_norm(const RmsNormArgs& a) {
  dispatch(a.x.dtype, [&]<class T>(T) { rms_norm_typed<T>(a, threads_for(a.x.elements())); });
}

void CpuBackend::do_rms_norm_backward(const RmsNormBackwardArgs& a) {
  auto* partial = static_cast<double*>(scratch(kReductionBlocks * a.x.shape[1] * int64_t{sizeof(double)}));
  dispatch(a.x.dtype, [&]<class T>(T) { rms_norm_backward_typed<T>(a, threads_for(a.x.elements()), partial); });
}

}  // namespace retain::cpu
