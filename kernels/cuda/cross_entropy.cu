// cross_entropy_statistics and cross_entropy: contracts in kernels/ops.h. One block a row. A rank that holds the whole
// vocabulary keeps the row in shared memory between its two passes, so that the logits are read once. The first pass
// carries the maximum and the sum together, so that an element costs two exponentials in all and few other
// instructions: the arithmetic would otherwise take longer than the bytes.
#include <cmath>

#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/dispatch.h"
#include "kernels/cuda/fast_math.cuh"
#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/vector.cuh"

namespace retain::cuda {

namespace {

/// The threads of a row.
template <int kWarpsOfRow, int kBlocksTogether>
struct TeamOf {
  static constexpr int kWarps = kWarpsOfRow, kThreads = 32 * kWarps;
  static constexpr int kBlocks = kBlocksTogether;  // that a multiprocessor is to hold
};
using Wide = TeamOf<16, 2>;    // two blocks of 512 threads and a row of 50,304 bfloat16 each fill a multiprocessor
using Narrow = TeamOf<2, 16>;  // bytes as tokens: a row of 264 is 33 vectors, and many of them are to be under way
constexpr int kNarrowVectors = 128;  // up to which so few threads serve
constexpr int kAhead = 3;            // vectors a thread has in flight before it looks at the first

/// e^(x − shift)
__device__ __forceinline__ float shifted_exponential(float x, float shift, float) { return expf(x - shift); }
__device__ __forceinline__ float shifted_exponential(float x, float shift, __nv_bfloat16) {
  return exp2_approximate(fmaf(x, kLog2E, -shift * kLog2E));
}

template <class T>
struct Arguments {
  T* logits;
  const int32_t* targets;
  const float* gathered;  // [ranks, rows, 3], null when this rank holds the whole vocabulary
  float* result;          // statistics [rows, 3] or loss [rows]
  const double* scale;    // null: 1
  int64_t stride, rows, columns, valid, first_column, ranks, gathered_rank, gathered_row;
  bool gradient;
};

/// The largest value seen and Σ e^(value − shift); nothing yet: −∞ and 0. Not-a-numbers show in the sum alone.
struct Softmax {
  float largest = -INFINITY, sum = 0;
  __device__ float shift() const { return largest == -INFINITY ? 0.0F : largest; }
};

/// Of this thread's real columns; the row's vectors are kept in `cache` for the same thread if kCached.
template <class Team, class T, int N, bool kCached>
__device__ __forceinline__ Softmax thread_softmax(const T* z, const Arguments<T>& a, Pack<T, N>* cache) {
  Softmax s;
  const auto vectors = static_cast<int>(a.columns / N), valid = static_cast<int>(a.valid);
  for (int first = static_cast<int>(threadIdx.x); first < vectors; first += Team::kThreads * kAhead) {
    Pack<T, N> pack[kAhead];
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const int v = first + i * Team::kThreads;
      if (v < vectors) pack[i] = load_pack<N>(z + v * N);
    }
    const float before = s.largest;
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const int v = first + i * Team::kThreads;
      if (kCached && v < vectors) cache[v] = pack[i];
      if (v * N + N > valid) {  // padding, or no vector at all
#pragma unroll
        for (int j = 0; j < N; ++j) {
          if (v * N + j >= valid) pack[i].v[j] = from_float<T>(-INFINITY);
        }
      }
#pragma unroll
      for (int j = 0; j < N; ++j) s.largest = fmaxf(s.largest, to_float(pack[i].v[j]));
    }
    const float shift = s.shift();
    s.sum *= shifted_exponential(before, shift, T{});
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
#pragma unroll
      for (int j = 0; j < N; ++j) s.sum += shifted_exponential(to_float(pack[i].v[j]), shift, T{});
    }
  }
  return s;
}

/// Joins the threads' parts; every thread gets the row's.
template <class Team, class T, int N, bool kCached>
__device__ __forceinline__ Softmax row_softmax(const T* z, const Arguments<T>& a, Pack<T, N>* cache, float* shared) {
  const Softmax own = thread_softmax<Team, T, N, kCached>(z, a, cache);
  Softmax row;
  row.largest = block_max<Team::kWarps>(own.largest, shared);
  row.sum = block_sum<Team::kWarps>(own.sum * shifted_exponential(own.largest, row.shift(), T{}), shared);
  return row;
}

/// z = scale · (exp(z − largest) / sum − [column is the target]), 0 for padding.
template <class Team, class T, int N, bool kCached>
__device__ __forceinline__ void write_gradient(T* z, const Arguments<T>& a, const Pack<T, N>* cache, const Softmax& row,
                                               int64_t target) {
  const float scale = a.scale ? static_cast<float>(*a.scale) : 1.0F, factor = scale / row.sum;
  const auto vectors = static_cast<int>(a.columns / N), valid = static_cast<int>(a.valid);
  // In this rank's columns or nowhere; another rank's may be far away.
  const int chosen = target >= 0 && target < a.columns ? static_cast<int>(target) : -1;
  for (int v = static_cast<int>(threadIdx.x); v < vectors; v += Team::kThreads) {
    const Pack<T, N> pack = kCached ? cache[v] : load_pack<N>(z + v * N);
    float g[N];
#pragma unroll
    for (int j = 0; j < N; ++j) g[j] = factor * shifted_exponential(to_float(pack.v[j]), row.shift(), T{});
    if (v * N + N > valid) {
#pragma unroll
      for (int j = 0; j < N; ++j) {
        if (v * N + j >= valid) g[j] = 0;
      }
    }
    if (chosen >= v * N && chosen < v * N + N) {
#pragma unroll
      for (int j = 0; j < N; ++j) {
        if (v * N + j == chosen) g[j] -= scale;
      }
    }
    store(z + v * N, g);
  }
}

template <class Team, class T, int N>
__device__ __forceinline__ void write_zeros(T* z, const Arguments<T>& a) {
  const float zeros[N] = {};
  for (int64_t v = threadIdx.x; v < a.columns / N; v += Team::kThreads) store(z + v * N, zeros);
}

template <class T>
__device__ __forceinline__ float target_logit(const T* z, const Arguments<T>& a, int64_t target) {
  return target >= 0 && target < a.valid ? to_float(z[target]) : 0.0F;
}

template <class T, int N>
__global__ void __launch_bounds__(Wide::kThreads, Wide::kBlocks) statistics_kernel(const Arguments<T> a) {
  __shared__ float shared[Wide::kWarps];
  const int64_t row = blockIdx.x;
  const T* z = a.logits + row * a.stride;
  const Softmax softmax = row_softmax<Wide, T, N, false>(z, a, nullptr, shared);
  if (threadIdx.x != 0) return;
  const int64_t target = a.targets[row];
  float* out = a.result + row * 3;
  out[0] = softmax.largest;
  out[1] = softmax.sum;
  out[2] = target < 0 ? 0.0F : target_logit(z, a, target - a.first_column);
}

template <class Team, class T, int N, bool kCached>
__global__ void __launch_bounds__(Team::kThreads, Team::kBlocks) cross_entropy_kernel(const Arguments<T> a) {
  extern __shared__ uint4 cache_memory[];
  __shared__ float shared[Team::kWarps];
  auto* cache = reinterpret_cast<Pack<T, N>*>(cache_memory);
  const int64_t row = blockIdx.x;
  T* z = a.logits + row * a.stride;
  if (a.targets[row] < 0) {
    if (threadIdx.x == 0) a.result[row] = 0;
    if (a.gradient) write_zeros<Team, T, N>(z, a);
    return;
  }
  const int64_t target = a.targets[row] - a.first_column;
  const float chosen = target_logit(z, a, target);  // read before the gradient overwrites it: two barriers follow
  const Softmax softmax = row_softmax<Team, T, N, kCached>(z, a, cache, shared);
  if (threadIdx.x == 0) a.result[row] = softmax.largest + logf(softmax.sum) - chosen;
  if (a.gradient) write_gradient<Team, T, N, kCached>(z, a, cache, softmax, target);
}

/// The same from the statistics of all ranks of the vocabulary.
template <class T, int N>
__global__ void __launch_bounds__(Wide::kThreads) cross_entropy_gathered_kernel(const Arguments<T> a) {
  const int64_t row = blockIdx.x;
  T* z = a.logits + row * a.stride;
  if (a.targets[row] < 0) {
    if (threadIdx.x == 0) a.result[row] = 0;
    if (a.gradient) write_zeros<Wide, T, N>(z, a);
    return;
  }
  Softmax softmax;
  float chosen = 0;
  for (int64_t p = 0; p < a.ranks; ++p) {
    softmax.largest = fmaxf(softmax.largest, a.gathered[p * a.gathered_rank + row * a.gathered_row]);
  }
  for (int64_t p = 0; p < a.ranks; ++p) {
    const float* statistics = a.gathered + p * a.gathered_rank + row * a.gathered_row;
    softmax.sum += statistics[1] * expf(statistics[0] - softmax.largest);
    chosen += statistics[2];
  }
  if (threadIdx.x == 0) a.result[row] = softmax.largest + logf(softmax.sum) - chosen;
  if (a.gradient) write_gradient<Wide, T, N, false>(z, a, nullptr, softmax, a.targets[row] - a.first_column);
}

template <class Team, class T, int N>
void launch_whole(const Arguments<T>& a, const Queue& queue) {
  const int64_t cache_bytes = a.columns * static_cast<int64_t>(sizeof(T));
  constexpr int64_t kStaticBytes = 1024;  // of the 227 KiB a block can have, what the reductions and CUDA take
  const auto blocks = block_count(a.rows, 1);
  if (cache_bytes + kStaticBytes <= queue.shared_memory_bytes()) {
    const auto kernel = cross_entropy_kernel<Team, T, N, true>;
    const auto bytes = static_cast<int>((cache_bytes + 15) / 16 * 16);
    CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes), "cross_entropy");
    kernel<<<blocks, Team::kThreads, bytes, queue.stream()>>>(a);
  } else {
    cross_entropy_kernel<Team, T, N, false><<<blocks, Team::kThreads, 0, queue.stream()>>>(a);
  }
}

/// What both operations share.
template <class T, class Args>
Arguments<T> arguments(const Args& args) {
  Arguments<T> a{};
  a.logits = pointer<T>(args.logits);
  a.targets = pointer<int32_t>(args.targets);
  a.stride = args.logits.stride[0];
  a.rows = args.logits.shape[0];
  a.columns = args.logits.shape[1];
  a.valid = args.valid;
  a.first_column = args.first_column;
  return a;
}

}  // namespace

void CudaBackend::do_cross_entropy_statistics(const CrossEntropyStatisticsArgs& args) {
  Queue& queue = current();
  if (args.logits.shape[0] == 0) return;
  dispatch_compute("cross_entropy_statistics", args.logits.dtype, [&](auto zero) {
    using T = decltype(zero);
    Arguments<T> a = arguments<T>(args);
    a.result = pointer<float>(args.statistics);
    if (a.columns % kVectorOf<T> == 0 && vectors_aligned(args.logits)) {
      statistics_kernel<T, kVectorOf<T>><<<block_count(a.rows, 1), Wide::kThreads, 0, queue.stream()>>>(a);
    } else {
      statistics_kernel<T, 1><<<block_count(a.rows, 1), Wide::kThreads, 0, queue.stream()>>>(a);
    }
  });
  LAUNCH_CHECK("cross_entropy_statistics");
}

void CudaBackend::do_cross_entropy(const CrossEntropyArgs& args) {
  Queue& queue = current();
  if (args.logits.shape[0] == 0) return;
  dispatch_compute("cross_entropy", args.logits.dtype, [&](auto zero) {
    using T = decltype(zero);
    Arguments<T> a = arguments<T>(args);
    a.result = pointer<float>(args.loss);
    a.scale = pointer<double>(args.scale);
    a.gradient = args.gradient;
    if (args.gathered) {
      a.gathered = pointer<float>(args.gathered);
      a.ranks = args.gathered.shape[0];
      a.gathered_rank = args.gathered.stride[0];
      a.gathered_row = args.gathered.stride[1];
    }
    const bool vector = a.columns % kVectorOf<T> == 0 && vectors_aligned(args.logits);
    const auto blocks = block_count(a.rows, 1);
    if (a.gathered && vector) {
      cross_entropy_gathered_kernel<T, kVectorOf<T>><<<blocks, Wide::kThreads, 0, queue.stream()>>>(a);
    } else if (a.gathered) {
      cross_entropy_gathered_kernel<T, 1><<<blocks, Wide::kThreads, 0, queue.stream()>>>(a);
    } else if (vector) {
      constexpr int kN = kVectorOf<T>;
      a.columns <= kNarrowVectors* kN ? launch_whole<Narrow, T, kN>(a, queue) : launch_whole<Wide, T, kN>(a, queue);
    } else {
      launch_whole<Wide, T, 1>(a, queue);
    }
  });
  LAUNCH_CHECK("cross_entropy");
}

}  // namespace retain::cuda
