#include "kernels/cpu/vector_math.h"

namespace retain::cpu {
namespace {

template <FfnKind kind, class T>
RETAIN_INLINE void forward_row(const T* a, const T* b, T* h, int64_t n) {
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) {
    const T act = kind == FfnKind::kSwiglu ? silu(a[j]) : gelu(a[j]);
    h[j] = kind == FfnKind::kGelu ? act : act * b[j];
  }
}

/// da may be a, db may be b: an element is read before it is written.
template <FfnKind kind, class T>
RETAIN_INLINE void backward_row(const T* dh, const T* a, const T* b, T* da, T* db, int64_t n) {
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) {
    const T x = a[j], d = dh[j];
    const T act = kind == FfnKind::kSwiglu ? silu(x) : gelu(x);
    const T slope = kind == FfnKind::kSwiglu ? silu_gradient(x) : gelu_gradient(x);
    if constexpr (kind == FfnKind::kGelu) {
      da[j] = d * slope;
    } else {
      da[j] = d * b[j] * slope;
      db[j] = d * act;
    }
  }
}

template <class T>
RETAIN_INLINE void forward_any(FfnKind kind, const T* a, const T* b, T* h, int64_t n) {
  switch (kind) {
    case FfnKind::kSwiglu: return forward_row<FfnKind::kSwiglu>(a, b, h, n);
    case FfnKind::kGeglu: return forward_row<FfnKind::kGeglu>(a, b, h, n);
    case FfnKind::kGelu: return forward_row<FfnKind::kGelu>(a, b, h, n);
  }
}

template <class T>
RETAIN_INLINE void backward_any(FfnKind kind, const T* dh, const T* a, const T* b, T* da, T* db, int64_t n) {
  switch (kind) {
    case FfnKind::kSwiglu: return backward_row<FfnKind::kSwiglu>(dh, a, b, da, db, n);
    case FfnKind::kGeglu: return backward_row<FfnKind::kGeglu>(dh, a, b, da, db, n);
    case FfnKind::kGelu: return backward_row<FfnKind::kGelu>(dh, a, b, da, db, n);
  }
}

RETAIN_CLONES void forward(FfnKind kind, const float* a, const float* b, float* h, int64_t n) {
  forward_any(kind, a, b, h, n);
}
RETAIN_CLONES void forward(FfnKind kind, const double* a, const double* b, double* h, int64_t n) {
  forward_any(kind, a, b, h, n);
}
RETAIN_CLONES void backward(FfnKind kind, const float* dh, const float* a, const float* b, float* da, float* db,
                            int64_t n) {
  backward_any(kind, dh, a, b, da, db, n);
}
RETAIN_CLONES void backward(FfnKind kind, const double* dh, const double* a, const double* b, double* da, double* db,
                            int64_t n) {
  backward_any(kind, dh, a, b, da, db, n);
}

}  // namespace

void CpuBackend::do_ffn_activation(const FfnActivationArgs& args) {
  dispatch(args.a.dtype, [&]<class T>(T) {
    const Matrix<T> a(args.a), b(args.b), h(args.h);
    parallel_for(threads_for(args.a.elements()), a.rows,
                 [&](int64_t i) { forward(args.kind, a.row(i), b.row(i), h.row(i), a.columns); });
  });
}

void CpuBackend::do_ffn_activation_backward(const FfnActivationBackwardArgs& args) {
  dispatch(args.a.dtype, [&]<class T>(T) {
    const Matrix<T> dh(args.dh), a(args.a), b(args.b), da(args.da), db(args.db);
    parallel_for(threads_for(args.a.elements()), a.rows, [&](int64_t i) {
      backward(args.kind, dh.row(i), a.row(i), b.row(i), da.row(i), db.row(i), a.columns);
    });
  });
}

}  // namespace retain::cpu
