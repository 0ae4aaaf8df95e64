// add, reduce, clip_scale and adamw: contracts in kernels/ops.h. All are one pass over memory.
#include <algorithm>

#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/dispatch.h"
#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/vector.cuh"

namespace retain::cuda {

namespace {

constexpr int kWarps = 16;
constexpr int kThreads = 32 * kWarps;
constexpr int kAhead = 4;  // vectors in flight a thread: 528 blocks of 512 threads then have 17 MB on their way

template <int N>
__global__ void __launch_bounds__(kThreads) add_kernel(const __nv_bfloat16* x, float* y, int64_t n) {
  const int64_t first = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * N;
  if (first + N <= n) {
    float more[N], sum[N];
    load(x + first, more);
    load(y + first, sum);
#pragma unroll
    for (int j = 0; j < N; ++j) sum[j] += more[j];
    store(y + first, sum);
  } else {
    for (int64_t i = first; i < n; ++i) y[i] += to_float(x[i]);
  }
}

/// Sums of the vectors first, first + step, …: fp32 within a vector, fp64 across vectors.
template <class T, int N, ReduceKind kKind>
__global__ void __launch_bounds__(kThreads) reduce_kernel(const T* x, int64_t vectors, int64_t n, double* partials) {
  __shared__ double shared[kWarps];
  const int64_t step = int64_t{gridDim.x} * kThreads;
  double sum = 0;
  for (int64_t first = int64_t{blockIdx.x} * kThreads + threadIdx.x; first < vectors; first += step * kAhead) {
    Pack<T, N> pack[kAhead];
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      if (first + i * step < vectors) pack[i] = load_pack<N>(x + (first + i * step) * N);
    }
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      if (first + i * step >= vectors) continue;
      float part = 0;
#pragma unroll
      for (int j = 0; j < N; ++j) {
        const float value = to_float(pack[i].v[j]);
        part += kKind == ReduceKind::kSum ? value : value * value;
      }
      sum += part;
    }
  }
  if (blockIdx.x == 0 && threadIdx.x == 0) {
    for (int64_t i = vectors * N; i < n; ++i) {
      const float value = to_float(x[i]);
      sum += kKind == ReduceKind::kSum ? value : value * value;
    }
  }
  sum = block_sum<kWarps>(sum, shared);
  if (threadIdx.x == 0) partials[blockIdx.x] = sum;
}

__global__ void __launch_bounds__(kThreads)
    reduce_partials_kernel(const double* partials, int blocks, double* out, bool accumulate) {
  __shared__ double shared[kWarps];
  double sum = 0;
  for (int i = threadIdx.x; i < blocks; i += kThreads) sum += partials[i];
  sum = block_sum<kWarps>(sum, shared);
  if (threadIdx.x == 0) *out = accumulate ? *out + sum : sum;
}

struct ClipScale {
  const double* sum_of_squares;
  const double* loss;    // may be null
  const double* limits;  // of norm and loss; may be null
  double* norm;
  double* scale;
  double max_norm;
};

__global__ void clip_scale_kernel(const ClipScale a) {
  const double norm = sqrt(*a.sum_of_squares), loss = a.loss ? *a.loss : 0;
  *a.norm = norm;
  const bool within = !a.limits || (norm <= a.limits[0] && loss <= a.limits[1]);
  if (isfinite(norm) && isfinite(loss) && within) {
    *a.scale = a.max_norm > 0 && norm > a.max_norm ? a.max_norm / norm : 1.0;
  } else {
    *a.scale = nan("");
  }
}

template <class T>
struct Adamw {
  const float* gradient;
  float* master;
  float* m;
  float* v;
  T* weight;  // may be master
  const double* grad_scale;
  const double* rates;
  int64_t n;
  float beta1, beta2, eps, weight_decay;
};

struct Rates {
  float lr, correction1, correction2;
};

template <class T>
__device__ __forceinline__ void update(const Adamw<T>& a, const Rates& rates, float scale, float gradient,
                                       float& master, float& m, float& v) {
  const float g = gradient * scale;
  m = a.beta1 * m + (1.0F - a.beta1) * g;
  v = a.beta2 * v + (1.0F - a.beta2) * g * g;
  const float step = m * rates.correction1 / (sqrtf(v * rates.correction2) + a.eps);
  master -= rates.lr * (step + a.weight_decay * master);
}

template <class T, int N>
__global__ void __launch_bounds__(kThreads) adamw_kernel(const Adamw<T> a) {
  const double scale = *a.grad_scale;
  if (!isfinite(scale)) return;
  const Rates rates{static_cast<float>(a.rates[0]), static_cast<float>(a.rates[1]), static_cast<float>(a.rates[2])};
  const int64_t first = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * N;
  if (first + N <= a.n) {
    float gradient[N], master[N], m[N], v[N];
    load(a.gradient + first, gradient);
    load(a.master + first, master);
    load(a.m + first, m);
    load(a.v + first, v);
#pragma unroll
    for (int j = 0; j < N; ++j) update(a, rates, static_cast<float>(scale), gradient[j], master[j], m[j], v[j]);
    store(a.master + first, master);
    store(a.m + first, m);
    store(a.v + first, v);
    store(a.weight + first, master);
  } else {
    for (int64_t i = first; i < a.n; ++i) {
      update(a, rates, static_cast<float>(scale), a.gradient[i], a.master[i], a.m[i], a.v[i]);
      a.weight[i] = from_float<T>(a.master[i]);
    }
  }
}

}  // namespace

void CudaBackend::do_add(const AddArgs& args) {
  Queue& queue = current();
  const int64_t n = args.y.elements();
  if (n == 0) return;
  RETAIN_CHECK(args.y.dtype == DType::kFloat32, "add: y is ", args.y.describe(), ", want float32 on a GPU");
  const auto run = [&](auto kernel, int64_t elements) {
    kernel<<<block_count(n, kThreads * elements), kThreads, 0, queue.stream()>>>(pointer<__nv_bfloat16>(args.x),
                                                                                 pointer<float>(args.y), n);
  };
  constexpr int kN = kVectorOf<__nv_bfloat16>;
  vectors_aligned(args.x, args.y) ? run(add_kernel<kN>, kN) : run(add_kernel<1>, 1);
  LAUNCH_CHECK("add");
}

void CudaBackend::do_reduce(const ReduceArgs& args) {
  Queue& queue = current();
  auto* partials = static_cast<double*>(queue.scratch("reduce", reduce_partials_bytes()));
  const int64_t n = args.x.elements();
  unsigned blocks = 1;
  dispatch_compute("reduce", args.x.dtype, [&](auto zero) {
    using T = decltype(zero);
    const auto run = [&](auto kernel, int64_t elements) {
      const int64_t vectors = n / elements;
      blocks = static_cast<unsigned>(std::clamp<int64_t>((vectors + kThreads - 1) / kThreads, 1, kPartialBlocks));
      kernel<<<blocks, kThreads, 0, queue.stream()>>>(pointer<T>(args.x), vectors, n, partials);
    };
    constexpr int kN = kVectorOf<T>;
    const bool vector = reinterpret_cast<uintptr_t>(args.x.data) % 16 == 0;
    if (args.kind == ReduceKind::kSum) {
      vector ? run(reduce_kernel<T, kN, ReduceKind::kSum>, kN) : run(reduce_kernel<T, 1, ReduceKind::kSum>, 1);
    } else {
      vector ? run(reduce_kernel<T, kN, ReduceKind::kSumOfSquares>, kN)
             : run(reduce_kernel<T, 1, ReduceKind::kSumOfSquares>, 1);
    }
  });
  LAUNCH_CHECK("reduce");
  reduce_partials_kernel<<<1, kThreads, 0, queue.stream()>>>(partials, static_cast<int>(blocks),
                                                             pointer<double>(args.out), args.accumulate);
  LAUNCH_CHECK("reduce: partial sums");
}

void CudaBackend::do_clip_scale(const ClipScaleArgs& args) {
  Queue& queue = current();
  clip_scale_kernel<<<1, 1, 0, queue.stream()>>>({.sum_of_squares = pointer<double>(args.sum_of_squares),
                                                  .loss = pointer<double>(args.loss),
                                                  .limits = pointer<double>(args.limits),
                                                  .norm = pointer<double>(args.norm),
                                                  .scale = pointer<double>(args.scale),
                                                  .max_norm = args.max_norm});
  LAUNCH_CHECK("clip_scale");
}

void CudaBackend::do_adamw(const AdamwArgs& args) {
  Queue& queue = current();
  const int64_t n = args.master.elements();
  if (n == 0) return;
  dispatch_compute("adamw", args.weight.dtype, [&](auto zero) {
    using T = decltype(zero);
    const Adamw<T> a{pointer<float>(args.gradient),  pointer<float>(args.master),
                     pointer<float>(args.m),         pointer<float>(args.v),
                     pointer<T>(args.weight),        pointer<double>(args.grad_scale),
                     pointer<double>(args.rates),    n,
                     static_cast<float>(args.beta1), static_cast<float>(args.beta2),
                     static_cast<float>(args.eps),   static_cast<float>(args.weight_decay)};
    constexpr int kN = 4;  // 16 bytes of each fp32 buffer
    const bool vector = vectors_aligned(args.gradient, args.master, args.m, args.v) &&
                        reinterpret_cast<uintptr_t>(args.weight.data) % (kN * sizeof(T)) == 0;
    if (vector) {
      adamw_kernel<T, kN><<<block_count(n, int64_t{kThreads} * kN), kThreads, 0, queue.stream()>>>(a);
    } else {
      adamw_kernel<T, 1><<<block_count(n, kThreads), kThreads, 0, queue.stream()>>>(a);
    }
  });
  LAUNCH_CHECK("adamw");
}

}  // namespace retain::cuda
