// ffn_activation and ffn_activation_backward: contracts in kernels/ops.h.
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/dispatch.h"
#include "kernels/cuda/vector.cuh"

namespace retain::cuda {

namespace {

constexpr int kThreads = 128;  // narrow blocks: fla's 2816 columns are 2.75 of them

struct Activation {
  float value, derivative;
};

template <FfnKind kKind>
__device__ __forceinline__ Activation activation(float a) {
  if constexpr (kKind == FfnKind::kSwiglu) {
    const float s = 1.0F / (1.0F + __expf(-a));
    return {a * s, s * (1.0F + a * (1.0F - s))};
  } else {
    const float cdf = 0.5F * (1.0F + erff(a * 0.70710678118654752F));
    const float density = 0.39894228040143268F * __expf(-0.5F * a * a);
    return {a * cdf, cdf + a * density};
  }
}

template <class T>
struct Arguments {
  const T* a;
  const T* b;  // null for kGelu
  T* h;
  const T* dh;
  T* da;  // may be a
  T* db;  // may be b
  int64_t a_stride, b_stride, h_stride, dh_stride, da_stride, db_stride;
  int64_t rows, width;
};

template <class T, int N, FfnKind kKind>
__global__ void __launch_bounds__(kThreads) ffn_activation_kernel(const Arguments<T> p) {
  constexpr bool kGated = kKind != FfnKind::kGelu;
  const int64_t column = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * N;
  if (column >= p.width) return;
  for (int64_t row = blockIdx.y; row < p.rows; row += gridDim.y) {
    float a[N], b[N];
    load(p.a + row * p.a_stride + column, a);
    if constexpr (kGated) load(p.b + row * p.b_stride + column, b);
#pragma unroll
    for (int j = 0; j < N; ++j) {
      a[j] = activation<kKind>(a[j]).value;
      if constexpr (kGated) a[j] *= b[j];
    }
    store(p.h + row * p.h_stride + column, a);
  }
}

template <class T, int N, FfnKind kKind>
__global__ void __launch_bounds__(kThreads) ffn_activation_backward_kernel(const Arguments<T> p) {
  constexpr bool kGated = kKind != FfnKind::kGelu;
  const int64_t column = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * N;
  if (column >= p.width) return;
  for (int64_t row = blockIdx.y; row < p.rows; row += gridDim.y) {
    float a[N], b[N], dh[N];
    load(p.dh + row * p.dh_stride + column, dh);
    load(p.a + row * p.a_stride + column, a);
    if constexpr (kGated) load(p.b + row * p.b_stride + column, b);
#pragma unroll
    for (int j = 0; j < N; ++j) {
      const Activation x = activation<kKind>(a[j]);
      a[j] = dh[j] * x.derivative;
      if constexpr (kGated) {
        a[j] *= b[j];
        b[j] = dh[j] * x.value;
      }
    }
    store(p.da + row * p.da_stride + column, a);
    if constexpr (kGated) store(p.db + row * p.db_stride + column, b);
  }
}

template <bool kBackward, class T, int N>
void launch(FfnKind kind, const Arguments<T>& p, cudaStream_t stream) {
  const dim3 grid(block_count(p.width / N, kThreads), looped_blocks(p.rows));
  const auto run = [&](auto forward, auto backward) {
    if constexpr (kBackward) {
      backward<<<grid, kThreads, 0, stream>>>(p);
    } else {
      forward<<<grid, kThreads, 0, stream>>>(p);
    }
  };
  switch (kind) {
    case FfnKind::kSwiglu:
      return run(ffn_activation_kernel<T, N, FfnKind::kSwiglu>, ffn_activation_backward_kernel<T, N, FfnKind::kSwiglu>);
    case FfnKind::kGeglu:
      return run(ffn_activation_kernel<T, N, FfnKind::kGeglu>, ffn_activation_backward_kernel<T, N, FfnKind::kGeglu>);
    case FfnKind::kGelu:
      return run(ffn_activation_kernel<T, N, FfnKind::kGelu>, ffn_activation_backward_kernel<T, N, FfnKind::kGelu>);
  }
}

}  // namespace

void CudaBackend::do_ffn_activation(const FfnActivationArgs& args) {
  Queue& queue = current();
  if (args.a.elements() == 0) return;
  dispatch_compute("ffn_activation", args.a.dtype, [&](auto zero) {
    using T = decltype(zero);
    Arguments<T> p{};
    p.a = pointer<T>(args.a), p.b = pointer<T>(args.b), p.h = pointer<T>(args.h);
    p.a_stride = args.a.stride[0], p.b_stride = args.b.stride[0], p.h_stride = args.h.stride[0];
    p.rows = args.a.shape[0], p.width = args.a.shape[1];
    if (p.width % kVectorOf<T> == 0 && vectors_aligned(args.a, args.b, args.h)) {
      launch<false, T, kVectorOf<T>>(args.kind, p, queue.stream());
    } else {
      launch<false, T, 1>(args.kind, p, queue.stream());
    }
  });
  LAUNCH_CHECK("ffn_activation");
}

void CudaBackend::do_ffn_activation_backward(const FfnActivationBackwardArgs& args) {
  Queue& queue = current();
  if (args.a.elements() == 0) return;
  dispatch_compute("ffn_activation_backward", args.a.dtype, [&](auto zero) {
    using T = decltype(zero);
    Arguments<T> p{};
    p.a = pointer<T>(args.a), p.b = pointer<T>(args.b), p.dh = pointer<T>(args.dh);
    p.da = pointer<T>(args.da), p.db = pointer<T>(args.db);
    p.a_stride = args.a.stride[0], p.b_stride = args.b.stride[0], p.dh_stride = args.dh.stride[0];
    p.da_stride = args.da.stride[0], p.db_stride = args.db.stride[0];
    p.rows = args.a.shape[0], p.width = args.a.shape[1];
    if (p.width % kVectorOf<T> == 0 && vectors_aligned(args.a, args.b, args.dh, args.da, args.db)) {
      launch<true, T, kVectorOf<T>>(args.kind, p, queue.stream());
    } else {
      launch<true, T, 1>(args.kind, p, queue.stream());
    }
  });
  LAUNCH_CHECK("ffn_activation_backward");
}

}  // namespace retain::cuda
