// embedding and embedding_backward: contracts in kernels/ops.h.
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/dispatch.h"
#include "kernels/cuda/vector.cuh"

namespace retain::cuda {

namespace {

constexpr int kThreads = 128;  // narrow blocks: a row of 2048 values is two of them, so little of the last is idle
constexpr int kPiece = static_cast<int>(kEmbeddingPiece);

template <class T>
struct Lookup {
  const int32_t* tokens;
  const int32_t* drawn;  // may be null
  const int32_t* places;
  const T* weight;
  T* x;
  int64_t n, width, first_row, rows, drawn_stride, place_stride, weight_stride, x_stride;
  float scale;
};

template <class T, int N>
__global__ void __launch_bounds__(kThreads) embedding_kernel(const Lookup<T> a) {
  const int64_t column = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * N;
  if (column >= a.width) return;
  for (int64_t i = blockIdx.y; i < a.n; i += gridDim.y) {
    int32_t token = a.tokens[i];
    if (token < 0 && a.drawn) token = a.drawn[a.places[i * a.place_stride] * a.drawn_stride];
    const int64_t row = token - a.first_row;
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
  float* partials;
  int64_t n, width, first_row, rows, dx_stride, dweight_stride;
  float scale;
};

template <int N, class T>
__device__ __forceinline__ void add_row(const Gradient<T>& a, int64_t row, int64_t column, const float (&sum)[N]) {
  float* out = a.dweight + row * a.dweight_stride + column;
  float value[N];
  load(out, value);
#pragma unroll
  for (int l = 0; l < N; ++l) value[l] += a.scale * sum[l];
  store(out, value);
}

/// The sorted positions are cut into pieces of fixed length. A run of one token inside a piece is summed there and
/// added to the gradient; what a piece has of a run that crosses its ends goes to `partials` [pieces, 2, width]: slot 0
/// if the run comes from the piece before, else slot 1. Block x: piece; y: columns.
template <class T, int N>
__global__ void __launch_bounds__(kThreads) embedding_backward_kernel(const Gradient<T> a) {
  constexpr int kAhead = 8;  // rows loaded before the first is added
  __shared__ int32_t positions[kPiece], tokens[kPiece];
  const int64_t begin = int64_t{blockIdx.x} * kPiece;
  const int count = static_cast<int>(a.n - begin < kPiece ? a.n - begin : kPiece);
  for (int i = static_cast<int>(threadIdx.x); i < count; i += kThreads) {
    positions[i] = a.order[begin + i];
    tokens[i] = a.tokens[positions[i]];
  }
  __syncthreads();
  const int64_t column = (int64_t{blockIdx.y} * kThreads + threadIdx.x) * N;
  if (column >= a.width) return;
  const bool from_before = begin > 0 && a.tokens[a.order[begin - 1]] == tokens[0];
  const bool goes_on = begin + count < a.n && a.tokens[a.order[begin + count]] == tokens[count - 1];

  float sum[N] = {};
  int first = 0;  // of the run
  const auto flush = [&](int end) {
    const int64_t row = tokens[first] - a.first_row;
    if (row >= 0 && row < a.rows) {
      const bool head = first == 0 && from_before;
      if (head || (end == count && goes_on)) {
        store(a.partials + (2 * int64_t{blockIdx.x} + (head ? 0 : 1)) * a.width + column, sum);
      } else {
        add_row<N>(a, row, column, sum);
      }
    }
#pragma unroll
    for (int l = 0; l < N; ++l) sum[l] = 0;
    first = end;
  };
  for (int next = 0; next < count; next += kAhead) {
    Pack<T, N> dx[kAhead];
#pragma unroll
    for (int j = 0; j < kAhead; ++j) {
      if (next + j < count) dx[j] = load_pack<N>(a.dx + positions[next + j] * a.dx_stride + column);
    }
#pragma unroll
    for (int j = 0; j < kAhead; ++j) {
      if (next + j >= count) continue;
      if (tokens[next + j] != tokens[first]) flush(next + j);
#pragma unroll
      for (int l = 0; l < N; ++l) sum[l] += to_float(dx[j].v[l]);
    }
  }
  flush(count);
}

/// The runs that cross pieces: the block of the piece in which one starts adds its parts in order.
template <class T, int N>
__global__ void __launch_bounds__(kThreads) embedding_backward_join_kernel(const Gradient<T> a) {
  const int64_t column = (int64_t{blockIdx.y} * kThreads + threadIdx.x) * N;
  const int64_t begin = int64_t{blockIdx.x} * kPiece, end = begin + kPiece;
  if (end >= a.n || column >= a.width) return;
  const auto token_at = [&](int64_t i) { return a.tokens[a.order[i]]; };
  const int32_t token = token_at(end);
  const int64_t row = token - a.first_row;
  if (row < 0 || row >= a.rows || token_at(end - 1) != token) return;
  if (begin > 0 && token_at(begin - 1) == token) return;  // starts earlier
  float sum[N], part[N];
  load(a.partials + (2 * int64_t{blockIdx.x} + 1) * a.width + column, sum);
  for (int64_t piece = int64_t{blockIdx.x} + 1;; ++piece) {
    load(a.partials + 2 * piece * a.width + column, part);
#pragma unroll
    for (int l = 0; l < N; ++l) sum[l] += part[l];
    const int64_t after = (piece + 1) * kPiece;
    if (after >= a.n || token_at(after) != token) break;
  }
  add_row<N>(a, row, column, sum);
}

template <class T, int N>
void launch_backward(const Gradient<T>& a, cudaStream_t stream) {
  const dim3 grid(block_count(a.n, kPiece), block_count(a.width / N, kThreads));
  embedding_backward_kernel<T, N><<<grid, kThreads, 0, stream>>>(a);
  if (grid.x > 1) embedding_backward_join_kernel<T, N><<<grid, kThreads, 0, stream>>>(a);
}

}  // namespace

void CudaBackend::do_embedding(const EmbeddingArgs& args) {
  Queue& queue = current();
  const int64_t n = args.x.shape[0], width = args.x.shape[1];
  if (n == 0) return;
  dispatch_compute("embedding", args.x.dtype, [&](auto zero) {
    using T = decltype(zero);
    const Lookup<T> a{pointer<int32_t>(args.tokens),
                      pointer<int32_t>(args.drawn),
                      pointer<int32_t>(args.places),
                      pointer<T>(args.weight),
                      pointer<T>(args.x),
                      n,
                      width,
                      args.first_row,
                      args.weight.shape[0],
                      args.drawn.stride[0],
                      args.places.stride[0],
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

void CudaBackend::do_embedding_backward(const EmbeddingBackwardArgs& args) {
  Queue& queue = current();
  const int64_t n = args.dx.shape[0], width = args.dx.shape[1];
  if (n == 0) return;
  auto* partials = static_cast<float*>(queue.scratch("embedding_backward", embedding_partials_bytes(n, width)));
  dispatch_compute("embedding_backward", args.dx.dtype, [&](auto zero) {
    using T = decltype(zero);
    const Gradient<T> a{pointer<int32_t>(args.tokens),
                        pointer<int32_t>(args.token_order),
                        pointer<T>(args.dx),
                        pointer<float>(args.dweight),
                        partials,
                        n,
                        width,
                        args.first_row,
                        args.dweight.shape[0],
                        args.dx.stride[0],
                        args.dweight.stride[0],
                        static_cast<float>(args.scale)};
    constexpr int kN = kVectorOf<T>;
    if (width % kN == 0 && vectors_aligned(args.dx, args.dweight)) {
      launch_backward<T, kN>(a, queue.stream());
    } else {
      launch_backward<T, 1>(a, queue.stream());
    }
  });
  LAUNCH_CHECK("embedding_backward");
}

}  // namespace retain::cuda
