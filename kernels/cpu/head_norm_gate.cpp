#include <algorithm>

#include "kernels/cpu/vector_math.h"

namespace retain::cpu {
namespace {

/// y = silu(g) ⊙ (weight ⊙ o · rstd); returns rstd. weight is null when there is none.
template <class T>
RETAIN_INLINE double forward_row(const T* o, const T* g, const T* weight, T* y, int64_t width, double eps) {
  double squares = 0;
#pragma omp simd reduction(+ : squares)
  for (int64_t j = 0; j < width; ++j) squares += static_cast<double>(o[j]) * o[j];
  const double rstd = 1 / std::sqrt(squares / static_cast<double>(width) + eps);
  const T r = static_cast<T>(rstd);
  if (weight) {
#pragma omp simd
    for (int64_t j = 0; j < width; ++j) y[j] = silu(g[j]) * (weight[j] * (o[j] * r));
  } else {
#pragma omp simd
    for (int64_t j = 0; j < width; ++j) y[j] = silu(g[j]) * (o[j] * r);
  }
  return rstd;
}

/// dout, dg, and the row's part of dweight added to `partial`. dout may be dy or o, dg may be g.
template <bool kAffine, class T>
RETAIN_INLINE void backward_row(const T* dy, const T* o, const T* g, const T* weight, T rstd, T* dout, T* dg,
                                double* partial, int64_t width) {
  double dot = 0;
#pragma omp simd reduction(+ : dot)
  for (int64_t j = 0; j < width; ++j) {
    const T product = dy[j] * silu(g[j]) * (o[j] * rstd);
    if constexpr (kAffine) partial[j] += product;
    dot += static_cast<double>(kAffine ? product * weight[j] : product);
  }
  const T mean = static_cast<T>(dot / static_cast<double>(width));
#pragma omp simd
  for (int64_t j = 0; j < width; ++j) {
    const T w = kAffine ? weight[j] : T{1};
    const T d = dy[j] * w, x = g[j], o_hat = o[j] * rstd;
    dg[j] = d * o_hat * silu_gradient(x);
    dout[j] = rstd * (d * silu(x) - o_hat * mean);
  }
}

template <class T>
RETAIN_INLINE void backward_any(const T* dy, const T* o, const T* g, const T* weight, T rstd, T* dout, T* dg,
                                double* partial, int64_t width) {
  if (weight) {
    backward_row<true>(dy, o, g, weight, rstd, dout, dg, partial, width);
  } else {
    backward_row<false>(dy, o, g, weight, rstd, dout, dg, partial, width);
  }
}

RETAIN_CLONES double forward(const float* o, const float* g, const float* weight, float* y, int64_t width, double eps) {
  return forward_row(o, g, weight, y, width, eps);
}
RETAIN_CLONES double forward(const double* o, const double* g, const double* weight, double* y, int64_t width,
                             double eps) {
  return forward_row(o, g, weight, y, width, eps);
}
RETAIN_CLONES void backward(const float* dy, const float* o, const float* g, const float* weight, float rstd,
                            float* dout, float* dg, double* partial, int64_t width) {
  backward_any(dy, o, g, weight, rstd, dout, dg, partial, width);
}
RETAIN_CLONES void backward(const double* dy, const double* o, const double* g, const double* weight, double rstd,
                            double* dout, double* dg, double* partial, int64_t width) {
  backward_any(dy, o, g, weight, rstd, dout, dg, partial, width);
}

/// Σ_{j<m} γ^j: the sum of a row of the decay matrix with m tokens of its document.
double decay_sum(double log2_gamma, int64_t m) {
  if (log2_gamma == 0) return static_cast<double>(m);
  constexpr double kLn2 = 0.69314718055994530942;
  return std::expm1(static_cast<double>(m) * log2_gamma * kLn2) / std::expm1(log2_gamma * kLn2);
}

template <class T>
void head_norm_gate_typed(const HeadNormGateArgs& a, ThreadPool* threads) {
  const HeadRows<T> o(a.o), g(a.g), y(a.y);
  const DocumentStart start(a.document_start);
  const T* weight = a.weight ? a.weight.as<T>() : nullptr;
  T* rstd = a.rstd.as<T>();
  parallel_for(threads, o.batch * o.tokens, [&](int64_t i) {
    const int64_t b = i / o.tokens, t = i % o.tokens;
    for (int64_t h = 0; h < o.heads; ++h) {
      double eps = a.eps;
      if (a.eps_kind == GroupNormEps::kRowsum) {
        const int64_t seen = a.position_offset + t + 1 - (start ? start.at(b, t) : 0);
        eps *= decay_sum(Vector<const double>(a.log2_gamma)[h], seen);
      }
      rstd[i * o.heads + h] =
          static_cast<T>(forward(o.at(b, t, h), g.at(b, t, h), weight, y.at(b, t, h), o.width, eps));
    }
  });
}

template <class T>
void head_norm_gate_backward_typed(const HeadNormGateBackwardArgs& a, ThreadPool* threads, double* partial) {
  const HeadRows<T> dy(a.dy), o(a.o), g(a.g), dout(a.dout), dg(a.dg);
  const T* weight = a.weight ? a.weight.as<T>() : nullptr;
  const T* rstd = a.rstd.as<T>();
  const int64_t rows = o.batch * o.tokens, width = o.width;
  parallel_for(threads, kReductionBlocks, [&](int64_t block) {
    double* mine = partial + block * width;
    std::fill_n(mine, width, 0.0);
    for (int64_t i = block_begin(rows, block); i < block_begin(rows, block + 1); ++i) {
      const int64_t b = i / o.tokens, t = i % o.tokens;
      for (int64_t h = 0; h < o.heads; ++h) {
        backward(dy.at(b, t, h), o.at(b, t, h), g.at(b, t, h), weight, rstd[i * o.heads + h], dout.at(b, t, h),
                 dg.at(b, t, h), mine, width);
      }
    }
  });
  if (!a.dweight) return;
  T* dweight = a.dweight.as<T>();
  for (int64_t j = 0; j < width; ++j) {
    double sum = 0;
    for (int64_t block = 0; block < kReductionBlocks; ++block) sum += partial[block * width + j];
    dweight[j] += static_cast<T>(sum);
  }
}

}  // namespace

void CpuBackend::do_head_norm_gate(const HeadNormGateArgs& a) {
  dispatch(a.o.dtype, [&]<class T>(T) { head_norm_gate_typed<T>(a, threads_for(a.o.elements())); });
}

void CpuBackend::do_head_norm_gate_backward(const HeadNormGateBackwardArgs& a) {
  auto* partial = static_cast<double*>(scratch(kReductionBlocks * a.o.shape[3] * int64_t{sizeof(double)}));
  dispatch(a.o.dtype, [&]<class T>(T) { head_norm_gate_backward_typed<T>(a, threads_for(a.o.elements()), partial); });
}

}  // namespace retain::cpu
