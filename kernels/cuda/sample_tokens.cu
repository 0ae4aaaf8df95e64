// sample_tokens: contract in kernels/ops.h. A block takes a row; each of its threads one range of the vocabulary, in
// order, which after the first pass lies in the L1 cache. No token is sorted: one is drawn, and if it is not among
// those that are kept, one of those that are likelier.
#include <limits>

#include "kernels/core/sampling.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/dispatch.h"
#include "kernels/cuda/vector.cuh"

namespace retain::cuda {

namespace {

constexpr int kThreads = 1024, kWarps = kThreads / 32;
constexpr int32_t kNone = -1;

template <class T>
struct Sampling {
  const T* logits;
  const uint8_t* drawable;  // may be null
  const float* options;
  const int32_t* top_k;
  const int32_t* keys;
  const int32_t* positions;
  const int32_t* places;
  int32_t* tokens;
  int64_t logits_stride, drawable_stride, top_k_stride, position_stride, place_stride, token_stride;
  int vocab;
};

/// Whole numbers of 64 bits over the block: their sum and, of each thread, that of the threads before.
struct Scan {
  uint64_t before, total;
};
__device__ Scan block_scan(uint64_t x, uint64_t* shared) {
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  uint64_t sum = x;
#pragma unroll
  for (int offset = 1; offset < 32; offset *= 2) {
    const uint64_t other = __shfl_up_sync(0xffffffffU, sum, offset);
    if (lane >= offset) sum += other;
  }
  __syncthreads();  // an earlier call's values may still be read
  if (lane == 31) shared[warp] = sum;
  __syncthreads();
  Scan scan{sum - x, 0};
  for (int w = 0; w < kWarps; ++w) {
    if (w < warp) scan.before += shared[w];
    scan.total += shared[w];
  }
  return scan;
}

__device__ uint64_t block_most(uint64_t x, uint64_t* shared) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) {
    const uint64_t other = __shfl_xor_sync(0xffffffffU, x, offset);
    x = other > x ? other : x;
  }
  __syncthreads();
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = x;
  __syncthreads();
  for (int w = 0; w < kWarps; ++w) x = shared[w] > x ? shared[w] : x;
  return x;
}

/// Whole numbers in the order of floats, none of them NaN; that of -infinity is the least.
__device__ __forceinline__ uint32_t ordered(float z) {
  const uint32_t bits = __float_as_uint(z);
  return (bits & 0x80000000U) ? ~bits : bits | 0x80000000U;
}
__device__ __forceinline__ float from_ordered(uint32_t x) {
  return __uint_as_float((x & 0x80000000U) ? x & 0x7fffffffU : ~x);
}

/// Calls f(token, logit) for a thread's range of the row.
template <class T, int N, class F>
__device__ __forceinline__ void for_range(const Sampling<T>& a, const T* row, int begin, int end, F&& f) {
  for (int j = begin; j < end; j += N) {
    const Pack<T, N> pack = load_pack<N>(row + j);
#pragma unroll
    for (int e = 0; e < N; ++e) {
      if (j + e >= end) continue;
      const bool out = a.drawable && !a.drawable[(j + e) * a.drawable_stride];
      f(j + e, out ? -INFINITY : to_float(pack.v[e]));
    }
  }
}

template <class T, int N>
__global__ void __launch_bounds__(kThreads) sample_tokens_kernel(const Sampling<T> a) {
  __shared__ uint64_t shared[kWarps];
  __shared__ uint64_t drawn_weight;
  __shared__ int32_t drawn_token;
  const int64_t i = blockIdx.x;
  const int32_t place = a.places[i * a.place_stride];
  if (place < 0) return;
  int32_t& result = a.tokens[place * a.token_stride];
  const T* const row = a.logits + i * a.logits_stride;
  const int width = (a.vocab + kThreads * N - 1) / (kThreads * N) * N;
  const int begin = min(a.vocab, static_cast<int>(threadIdx.x) * width), end = min(a.vocab, begin + width);

  // ---- the likeliest token, the first of several
  uint64_t most = 0;
  bool broken = false;
  for_range<T, N>(a, row, begin, end, [&](int token, float z) {
    broken = broken || !(z < INFINITY);
    const uint64_t key = (uint64_t{ordered(z)} << 32) | ~static_cast<uint32_t>(token);
    if (z > -INFINITY && key > most) most = key;
  });
  broken = __syncthreads_or(broken ? 1 : 0) != 0;
  most = block_most(most, shared);
  const float temperature = a.options[3 * i];
  if (broken || most == 0 || temperature < kLeastTemperature) {
    if (threadIdx.x == 0) result = broken || most == 0 ? kNone : static_cast<int32_t>(~static_cast<uint32_t>(most));
    return;
  }

  // ---- all weight
  const float z_max = from_ordered(static_cast<uint32_t>(most >> 32)), scale = sampling_scale(temperature);
  const auto weight_of = [&](float z) { return sampling_weight(z, z_max, scale); };
  uint64_t mine = 0;
  for_range<T, N>(a, row, begin, end, [&](int, float z) { mine += weight_of(z); });
  Scan candidates = block_scan(mine, shared);
  const SamplingFilter filter(a.options[3 * i + 1], a.options[3 * i + 2], a.top_k[i * a.top_k_stride],
                              candidates.total);
  const bool all = filter.keeps_all(candidates.total);
  const uint64_t key =
      (static_cast<uint64_t>(static_cast<uint32_t>(a.keys[2 * i + 1])) << 32) | static_cast<uint32_t>(a.keys[2 * i]);
  const auto position = static_cast<uint32_t>(a.positions[i * a.position_stride]);

  uint64_t above = 0;
  for (uint32_t attempt = 0;; ++attempt) {
    // ---- one of the candidates: the thread in whose range it falls looks for it
    const uint64_t drawn = sampling_draw(key, position, attempt, candidates.total);
    if (drawn >= candidates.before && drawn - candidates.before < mine) {
      uint64_t left = drawn - candidates.before;
      bool found = false;
      for_range<T, N>(a, row, begin, end, [&](int token, float z) {
        const uint64_t weight = weight_of(z);
        if (found || weight <= above) return;
        if (left < weight) {
          found = true;
          drawn_token = token;
          drawn_weight = weight;
        }
        left -= weight;
      });
    }
    __syncthreads();
    const int32_t token = drawn_token;
    above = drawn_weight;
    if (all) {
      if (threadIdx.x == 0) result = token;
      return;
    }
    // ---- those that are likelier
    int likelier = 0;
    mine = 0;
    for_range<T, N>(a, row, begin, end, [&](int, float z) {
      const uint64_t weight = weight_of(z);
      if (weight <= above) return;
      ++likelier;
      mine += weight;
    });
    candidates = block_scan(mine, shared);
    const auto count = static_cast<int32_t>(block_scan(static_cast<uint64_t>(likelier), shared).total);
    if (filter.keeps(above, count, candidates.total)) {
      if (threadIdx.x == 0) result = token;
      return;
    }
  }
}

}  // namespace

void CudaBackend::do_sample_tokens(const SampleTokensArgs& args) {
  Queue& queue = current();
  const int64_t n = args.logits.shape[0];
  if (n == 0) return;
  dispatch_compute("sample_tokens", args.logits.dtype, [&](auto zero) {
    using T = decltype(zero);
    constexpr int kN = kVectorOf<T>;
    const Sampling<T> a{pointer<T>(args.logits),
                        pointer<uint8_t>(args.drawable),
                        pointer<float>(args.options),
                        pointer<int32_t>(args.top_k),
                        pointer<int32_t>(args.keys),
                        pointer<int32_t>(args.positions),
                        pointer<int32_t>(args.places),
                        pointer<int32_t>(args.tokens),
                        args.logits.stride[0],
                        args.drawable.stride[0],
                        args.top_k.stride[0],
                        args.positions.stride[0],
                        args.places.stride[0],
                        args.tokens.stride[0],
                        static_cast<int>(args.logits.shape[1])};
    if (args.logits.shape[1] % kN == 0 && vector_aligned(args.logits)) {
      sample_tokens_kernel<T, kN><<<block_count(n, 1), kThreads, 0, queue.stream()>>>(a);
    } else {
      sample_tokens_kernel<T, 1><<<block_count(n, 1), kThreads, 0, queue.stream()>>>(a);
    }
  });
  LAUNCH_CHECK("sample_tokens");
}

}  // namespace retain::cuda
