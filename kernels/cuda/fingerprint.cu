// 64 bits that tell whether bits changed: contract in kernels/ops.h. One pass over memory.
#include <algorithm>

#include "kernels/core/fingerprint_mix.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/dispatch.h"
#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/vector.cuh"
#include "kernels/cuda/workspace_layout.h"

namespace retain::cuda {

namespace {

constexpr int kWarps = 16;
constexpr int kThreads = 32 * kWarps;

struct Fingerprint {
  unsigned long long* out;
  uint64_t key;
  int64_t first_index, row_step, columns, n;
};

__device__ __forceinline__ uint64_t bits_of(float x) { return __float_as_uint(x); }
__device__ __forceinline__ uint64_t bits_of(__nv_bfloat16 x) { return __bfloat16_as_ushort(x); }

/// kInOrder: the index of element i is first_index + i, which takes no division.
template <class T, int N, bool kInOrder>
__global__ void __launch_bounds__(kThreads) fingerprint_kernel(const T* x, const Fingerprint a) {
  __shared__ uint64_t shared[kWarps];
  const auto index = [&](int64_t i) {
    return a.first_index + (kInOrder ? i : i / a.columns * a.row_step + i % a.columns);
  };
  const int64_t step = int64_t{gridDim.x} * kThreads, vectors = a.n / N,
                first = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  uint64_t sum = 0;
#pragma unroll 4
  for (int64_t vector = first; vector < vectors; vector += step) {
    const Pack<T, N> pack = load_pack<N>(x + vector * N);
#pragma unroll
    for (int j = 0; j < N; ++j) sum += fingerprint_mix(a.key, index(vector * N + j), bits_of(pack.v[j]));
  }
  for (int64_t i = vectors * N + first; i < a.n; i += step) sum += fingerprint_mix(a.key, index(i), bits_of(x[i]));
  sum = block_sum<kWarps>(sum, shared);
  if (threadIdx.x == 0) atomicAdd(a.out, static_cast<unsigned long long>(sum));  // exact, whatever the order
}

}  // namespace

void CudaBackend::do_fingerprint(const FingerprintArgs& args) {
  Queue& queue = current();
  const int64_t n = args.x.elements(), columns = args.x.shape[1];
  if (n == 0) return;
  const Fingerprint a{
      static_cast<unsigned long long*>(args.out.data), args.key, args.first_index, args.row_step, columns, n};
  dispatch_compute("fingerprint", args.x.dtype, [&](auto zero) {
    using T = decltype(zero);
    const auto run = [&](auto kernel, int64_t elements) {
      const int64_t blocks = (n + elements * kThreads - 1) / (elements * kThreads);
      kernel<<<static_cast<unsigned>(std::min(blocks, 4 * kPartialBlocks)), kThreads, 0, queue.stream()>>>(
          pointer<T>(args.x), a);
    };
    constexpr int kN = kVectorOf<T>;
    const bool vector = reinterpret_cast<uintptr_t>(args.x.data) % 16 == 0;
    if (args.x.shape[0] == 1 || args.row_step == columns) {
      vector ? run(fingerprint_kernel<T, kN, true>, kN) : run(fingerprint_kernel<T, 1, true>, 1);
    } else {
      vector ? run(fingerprint_kernel<T, kN, false>, kN) : run(fingerprint_kernel<T, 1, false>, 1);
    }
  });
  LAUNCH_CHECK("fingerprint");
}

}  // namespace retain::cuda
