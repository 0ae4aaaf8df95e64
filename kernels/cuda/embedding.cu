// embedding and embedding_backward: contracts in kernels/ops.h.
#include "kernels/cuda/dispatch.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/vector.cuh"

namespace retain::cuda {

namespace {

constexpr int kThreads = 128;  // narrow blocks: a row of 2048 values is two of them, so little of the last is idle

template <class T>
struct Lookup {
  const int32_t* tokens;
  const T* weight;
  T* x;
  int64_t n, width, first_row, rows, weight_stride, x_stride;
  float scale;
};

template <class T, int N>
__global__ void __launch_bounds__(kThreads) embedding_kernel(const Lookup<T> a) {
  const int64_t column = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * N;
  if (column >= a.width) return;
  for (int64_t i = blockIdx.y; i < a.n; i += gridDim.y) {
    const int64_t row = a.tokens[i] - a.first_row;
    float x[N] = {};
    if (row >= 0 && row < a.rows) load(a.weight + row * a.weight_stride + column, x);
#pragma unroll
    for (int j = 0; j < N; ++j) x[j] *= a.scale;
    store(a.x + i * a.x_stride + column, x);
  }
}

template <class T>
struct Gradient {
  const int32_t* tokens;
  const int32_t* order;
  const T* dx;
  float* dweight;
  int64_t n, width, first_row, rows, dx_stride, dweight_stride;
  float scale;
};

/// Positions with the same token lie side by side in `order`; the block of the first of them sums the run, ascending.
template <class T, int N>
__global__ void __launch_bounds__(kThreads) embedding_backward_kernel(const Gradient<T> a) {
  constexpr int kAhead = 8;  // rows loaded before the first is added: a run's only parallelism besides its columns
  const int64_t column = (int64_t{blockIdx.y} * kThreads + threadIdx.x) * N;
  const int64_t begin = blockIdx.x;
  const int32_t token = a.tokens[a.order[begin]];
  if (begin > 0 && a.tokens[a.order[begin - 1]] == token) return;
  const int64_t row = token - a.first_row;
  if (row < 0 || row >= a.rows || column >= a.width) return;
  float sum[N] = {};
  for (int64_t first = begin; first < a.n; first += kAhead) {
    Pack<T, N> dx[kAhead];
    int count = 0;
#pragma unroll
    for (int j = 0; j < kAhead; ++j) {
      if (count < j || first + j >= a.n) continue;
      const int64_t position = a.order[first + j];
      if (a.tokens[position] != token) continue;
      dx[j] = load_pack<N>(a.dx + position * a.dx_stride + column);
      count = j + 1;
    }
#pragma unroll
    for (int j = 0; j < kAhead; ++j) {
      if (j >= count) continue;
#pragma unroll
      for (int l = 0; l < N; ++l) sum[l] += to_float(dx[j].v[l]);
    }
    if (count < kAhead) break;
  }
  float* out = a.dweight + row * a.dweight_stride + column;
  float old[N];
  load(out, old);
#pragma unroll
  for (int l = 0; l < N; ++l) old[l] += a.scale * sum[l];
  store(out, old);
}

}  // namespace

void embedding(Queue& queue, const EmbeddingArgs& args) {
  const int64_t n = args.x.shape[0], width = args.x.shape[1];
  if (n == 0) return;
  dispatch_compute("embedding", args.x.dtype, [&](auto zero) {
    using T = decltype(zero);
    const Lookup<T> a{pointer<int32_t>(args.tokens),
                      pointer<T>(args.weight),
                      pointer<T>(args.x),
                      n,
                      width,
                      args.first_row,
                      args.weight.shape[0],
                      args.weight.stride[0],
                      args.x.stride[0],
                      static_cast<float>(args.scale)};
    constexpr int kN = kVectorOf<T>;
    if (width % kN == 0 && vectors_aligned(args.weight, args.x)) {
      const dim3 grid(block_count(width / kN, kThreads), looped_blocks(n));
      embedding_kernel<T, kN><<<grid, kThreads, 0, queue.stream()>>>(a);
    } else {
      const dim3 grid(block_count(width, kThreads), looped_blocks(n));
      embedding_kernel<T, 1><<<grid, kThreads, 0, queue.stream()>>>(a);
    }
  });
  LAUNCH_CHECK("embedding");
}

void embedding_backward(Queue& queue, const EmbeddingBackwardArgs& args) {
  const int64_t n = args.dx.shape[0], width = args.dx.shape[1];
  if (n == 0) return;
  dispatch_compute("embedding_backward", args.dx.dtype, [&](auto zero) {
    using T = decltype(zero);
    const Gradient<T> a{pointer<int32_t>(args.tokens),
                        pointer<int32_t>(args.token_order),
                        pointer<T>(args.dx),
                        pointer<float>(args.dweight),
                        n,
                        width,
                        args.first_row,
                        args.dweight.shape[0],
                        args.dx.stride[0],
                        args.dweight.stride[0],
                        static_cast<float>(args.scale)};
    constexpr int kN = kVectorOf<T>;
    if (width % kN == 0 && vectors_aligned(args.dx, args.dweight)) {
      const dim3 grid(block_count(n, 1), block_count(width / kN, kThreads));
      embedding_backward_kernel<T, kN><<<grid, kThreads, 0, queue.stream()>>>(a);
    } else {
      const dim3 grid(block_count(n, 1), block_count(width, kThreads));
      embedding_backward_kernel<T, 1><<<grid, kThreads, 0, queue.stream()>>>(a);
    }
  });
  LAUNCH_CHECK("embedding_backward");
}

}  // namespace retain::cuda
