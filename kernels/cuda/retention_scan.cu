#include "kernels/cuda/retention_scan.h"

#include "kernels/cuda/check.h"
#include "kernels/cuda/dispatch.h"
#include "kernels/cuda/sequences.cuh"
#include "kernels/cuda/vector.cuh"

namespace retain::cuda {

namespace {

constexpr int kThreads = 256;

constexpr int kMaskRows = 64;  // of one block: four blocks a matrix of 256 rows, a few stores for each thread

/// Grid x: groups of kMaskRows rows of a chunk's [C,C] scores; y: chunks of all sequences and copies. Block: y rows of
/// x vectors. Only what is zeroed is touched, and only the vectors across an edge are read.
template <class T, int N>
__global__ void __launch_bounds__(kThreads) mask_scores_kernel(T* scores, int64_t matrices, const Sequences s) {
  const int chunk = static_cast<int>(s.chunk), begin = static_cast<int>(blockIdx.x) * kMaskRows;
  const int end = begin + kMaskRows < chunk ? begin + kMaskRows : chunk;
  for (int64_t matrix = blockIdx.y; matrix < matrices; matrix += gridDim.y) {
    T* data = scores + matrix * s.chunk * s.chunk;
    int64_t b = 0, c = 0;
    if (s.document) {
      const int64_t index = matrix % (s.batch * s.chunks);
      b = index / s.chunks;
      c = index % s.chunks;
    }
    for (int row = begin + static_cast<int>(threadIdx.y); row < end; row += static_cast<int>(blockDim.y)) {
      int first = 0;  // the first column that the row sees
      if (s.document) {
        if (row >= chunk_rows(s, c)) continue;
        const int64_t start = document_start(s, b, c * s.chunk + row) - c * s.chunk;
        first = start > 0 ? static_cast<int>(start) : 0;
      }
      for (int column = static_cast<int>(threadIdx.x) * N; column < chunk; column += static_cast<int>(blockDim.x) * N) {
        if (column >= first && column + N - 1 <= row) continue;
        T* at = data + row * chunk + column;
        Pack<T, N> pack;
        if (column > row || column + N - 1 < first) {
#pragma unroll
          for (int j = 0; j < N; ++j) pack.v[j] = from_float<T>(0.0F);
        } else {
          pack = load_pack<N>(at);
#pragma unroll
          for (int j = 0; j < N; ++j) {
            if (column + j > row || column + j < first) pack.v[j] = from_float<T>(0.0F);
          }
        }
        store_pack<N>(at, pack);
      }
    }
  }
}

/// True if the mask keeps token t: the tokens kept are the first or the last of their chunk.
__device__ __forceinline__ bool holds(const Sequences& s, RowMask mask, int64_t b, int64_t t) {
  const int64_t first = t / s.chunk * s.chunk;
  if (mask == RowMask::kSeesState) return document_start(s, b, t) < first;
  const int64_t last = first + chunk_rows(s, t / s.chunk) - 1;
  return t >= document_start(s, b, last);
}

/// Block: y rows of x vectors. kCopy: out = masked x; otherwise x's other rows are zeroed in place.
template <class T, int N, bool kCopy>
__global__ void __launch_bounds__(kThreads)
    mask_rows_kernel(T* out, int64_t out_batch, int64_t out_token, const T* x, int64_t batch_stride,
                     int64_t token_stride, int width, RowMask mask, const Sequences s) {
  const int64_t row = int64_t{blockIdx.x} * blockDim.y + threadIdx.y;
  if (row >= s.batch * s.tokens) return;
  const int64_t b = row / s.tokens, t = row % s.tokens;
  const bool keep = holds(s, mask, b, t);
  if (!kCopy && keep) return;
  for (int column = static_cast<int>(threadIdx.x) * N; column < width; column += static_cast<int>(blockDim.x) * N) {
    Pack<T, N> pack;
    if (kCopy && keep) {
      pack = load_pack<N>(x + b * batch_stride + t * token_stride + column);
    } else {
#pragma unroll
      for (int j = 0; j < N; ++j) pack.v[j] = from_float<T>(0.0F);
    }
    store_pack<N>(out + b * out_batch + t * out_token + column, pack);
  }
}

constexpr int kFewChunks = 8, kManyChunks = 12;  // loaded before the first is used: the scan's bytes in flight

template <class T>
struct Scan {
  T* states;
  int64_t batch_stride, chunk_stride, elements;
  const float* boundary;
  float* result;
  int64_t boundary_stride;
  const double* log2_gamma;
  bool store;
};

/// Walks the chunks of one sequence, A at a time. Step(chunk, product, where) gives what replaces the product. The
/// loads of the next A do not wait for the carried value, only for the stores before them.
template <int A, class T, class Step>
__device__ __forceinline__ void walk(const Scan<T>& a, const Sequences& s, T* at, bool reverse, Step&& step) {
  constexpr int kN = kVectorOf<T>;
  const auto chunks = static_cast<int>(s.chunks);
  const int64_t stride = reverse ? -a.chunk_stride : a.chunk_stride;
  if (reverse) at += (s.chunks - 1) * a.chunk_stride;
  for (int first = 0; first < chunks; first += A) {
    Pack<T, kN> product[A];
#pragma unroll
    for (int i = 0; i < A; ++i) {
      if (first + i < chunks) product[i] = load_pack<kN>(at + i * stride);
    }
#pragma unroll
    for (int i = 0; i < A; ++i) {
      if (first + i >= chunks) continue;
      float x[kN];
      unpack(product[i], x);
      step(int64_t{reverse ? chunks - 1 - (first + i) : first + i}, x, at + i * stride);
    }
    at += A * stride;
  }
}

template <class T, int A>
__global__ void __launch_bounds__(kThreads, 2) scan_states_kernel(const Scan<T> a, const Sequences s) {
  constexpr int kN = kVectorOf<T>;
  const int64_t element = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * kN;
  const int64_t b = blockIdx.y;
  if (element >= a.elements) return;
  const double log2_gamma = *a.log2_gamma;
  const float gamma = decay_over(log2_gamma, 1), full = decay_over(log2_gamma, s.chunk);
  const float last = decay_over(log2_gamma, chunk_rows(s, s.chunks - 1));
  float state[kN] = {};
  if (a.boundary) {
    load(a.boundary + b * a.boundary_stride + element, state);
#pragma unroll
    for (int j = 0; j < kN; ++j) state[j] *= gamma;
  }
  walk<A>(a, s, a.states + b * a.batch_stride + element, false, [&](int64_t c, const float(&product)[kN], T* at) {
    if (a.store) store(at, state);
    const float decay = c + 1 < s.chunks ? full : last;
    const float keep = reaches_back(s, b, c) ? 1.0F : 0.0F;
#pragma unroll
    for (int j = 0; j < kN; ++j) state[j] = decay * (keep * state[j] + product[j]);
  });
  if (!a.result) return;
#pragma unroll
  for (int j = 0; j < kN; ++j) state[j] /= gamma;
  store(a.result + b * a.boundary_stride + element, state);
}

template <class T, int A>
__global__ void __launch_bounds__(kThreads, 2) scan_states_reverse_kernel(const Scan<T> a, const Sequences s) {
  constexpr int kN = kVectorOf<T>;
  const int64_t element = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * kN;
  const int64_t b = blockIdx.y;
  if (element >= a.elements) return;
  const double log2_gamma = *a.log2_gamma;
  const float gamma = decay_over(log2_gamma, 1), full = decay_over(log2_gamma, s.chunk);
  float gradient[kN] = {};
  if (a.boundary) {
    const float last = decay_over(log2_gamma, chunk_rows(s, s.chunks - 1) - 1);
    load(a.boundary + b * a.boundary_stride + element, gradient);
#pragma unroll
    for (int j = 0; j < kN; ++j) gradient[j] *= last;
  }
  walk<A>(a, s, a.states + b * a.batch_stride + element, true, [&](int64_t c, const float(&product)[kN], T* at) {
    if (a.store) store(at, gradient);
    const float decay = c == 0 ? gamma : full;  // every chunk but the last is full
    const float keep = reaches_back(s, b, c) ? 1.0F : 0.0F;
#pragma unroll
    for (int j = 0; j < kN; ++j) gradient[j] = decay * (product[j] + keep * gradient[j]);
  });
  if (a.result) store(a.result + b * a.boundary_stride + element, gradient);
}

template <class T>
Scan<T> typed(const StateScan& x) {
  return {static_cast<T*>(x.states), x.batch_stride, x.chunk_stride, x.elements, x.boundary, x.result,
          x.boundary_stride,         x.log2_gamma,   x.store};
}

template <class T>
dim3 scan_grid(const StateScan& x, const Sequences& s) {
  RETAIN_CHECK(s.batch <= 65535, "batch ", s.batch);
  return dim3(block_count(x.elements, int64_t{kThreads} * kVectorOf<T>), static_cast<unsigned>(s.batch));
}

/// A block of kThreads threads that is one row of vectors wide.
dim3 row_block(int64_t vectors) {
  unsigned across = 1;
  while (across < kThreads && across < vectors) across *= 2;
  return dim3(across, kThreads / across);
}

template <class T, bool kCopy>
void launch_mask_rows(T* out, int64_t out_batch, int64_t out_token, const T* x, int64_t batch_stride,
                      int64_t token_stride, int64_t width, RowMask mask, const Sequences& s, cudaStream_t stream) {
  constexpr int kN = kVectorOf<T>;
  const dim3 block = row_block(width / kN);
  mask_rows_kernel<T, kN, kCopy><<<block_count(s.batch * s.tokens, block.y), block, 0, stream>>>(
      out, out_batch, out_token, x, batch_stride, token_stride, static_cast<int>(width), mask, s);
}

}  // namespace

void mask_scores(const char* operation, DType type, void* scores, int64_t copies, const Sequences& s,
                 cudaStream_t stream) {
  dispatch_compute(operation, type, [&](auto zero) {
    using T = decltype(zero);
    constexpr int kN = kVectorOf<T>;
    const int64_t matrices = copies * s.batch * s.chunks;
    const dim3 grid(block_count(s.chunk, kMaskRows), looped_blocks(matrices));
    mask_scores_kernel<T, kN><<<grid, row_block(s.chunk / kN), 0, stream>>>(static_cast<T*>(scores), matrices, s);
  });
  LAUNCH_CHECK(operation, ": mask of the scores");
}

void zero_rows(const char* operation, DType type, void* x, int64_t batch_stride, int64_t token_stride, int64_t width,
               RowMask mask, const Sequences& s, cudaStream_t stream) {
  dispatch_compute(operation, type, [&](auto zero) {
    using T = decltype(zero);
    launch_mask_rows<T, false>(static_cast<T*>(x), batch_stride, token_stride, nullptr, 0, 0, width, mask, s, stream);
  });
  LAUNCH_CHECK(operation, ": mask of rows");
}

void copy_masked_rows(const char* operation, DType type, void* out, const void* x, int64_t batch_stride,
                      int64_t token_stride, int64_t width, RowMask mask, const Sequences& s, cudaStream_t stream) {
  dispatch_compute(operation, type, [&](auto zero) {
    using T = decltype(zero);
    launch_mask_rows<T, true>(static_cast<T*>(out), s.tokens * width, width, static_cast<const T*>(x), batch_stride,
                              token_stride, width, mask, s, stream);
  });
  LAUNCH_CHECK(operation, ": masked copy");
}

void scan_states(const char* operation, DType type, const StateScan& scan, const Sequences& s, cudaStream_t stream) {
  dispatch_compute(operation, type, [&](auto zero) {
    using T = decltype(zero);
    if (s.chunks <= kFewChunks) {
      scan_states_kernel<T, kFewChunks><<<scan_grid<T>(scan, s), kThreads, 0, stream>>>(typed<T>(scan), s);
    } else {
      scan_states_kernel<T, kManyChunks><<<scan_grid<T>(scan, s), kThreads, 0, stream>>>(typed<T>(scan), s);
    }
  });
  LAUNCH_CHECK(operation, ": scan of the states");
}

void scan_states_reverse(const char* operation, DType type, const StateScan& scan, const Sequences& s,
                         cudaStream_t stream) {
  dispatch_compute(operation, type, [&](auto zero) {
    using T = decltype(zero);
    if (s.chunks <= kFewChunks) {
      scan_states_reverse_kernel<T, kFewChunks><<<scan_grid<T>(scan, s), kThreads, 0, stream>>>(typed<T>(scan), s);
    } else {
      scan_states_reverse_kernel<T, kManyChunks><<<scan_grid<T>(scan, s), kThreads, 0, stream>>>(typed<T>(scan), s);
    }
  });
  LAUNCH_CHECK(operation, ": reverse scan of the states");
}

}  // namespace retain::cuda
