#include "kernels/cuda/retention_scan.h"

#include "kernels/cuda/check.h"
#include "kernels/cuda/dispatch.h"
#include "kernels/cuda/vector.cuh"

namespace retain::cuda {

namespace {

constexpr int kThreads = 256;

/// First token, relative to the segment, of the document that token t of sequence b belongs to; < 0: before it.
__device__ __forceinline__ int64_t document_start(const Segments& s, int64_t b, int64_t t) {
  return s.document[b * s.document_stride + t] - s.position_offset;
}

__device__ __forceinline__ int64_t chunk_rows(const Segments& s, int64_t c) {
  const int64_t left = s.tokens - c * s.chunk;
  return left < s.chunk ? left : s.chunk;
}

/// True if the document at the end of chunk c reaches back before the chunk.
__device__ __forceinline__ bool carries(const Segments& s, int64_t b, int64_t c) {
  const int64_t first = c * s.chunk;
  return document_start(s, b, first + chunk_rows(s, c) - 1) < first;
}

/// Grid x: vectors of one chunk's [C,C] scores; y: chunks of all sequences and copies.
template <class T, int N>
__global__ void __launch_bounds__(kThreads) mask_scores_kernel(T* scores, int64_t matrices, const Segments s) {
  const int chunk = static_cast<int>(s.chunk), row_vectors = chunk / N;
  const int item = static_cast<int>(blockIdx.x) * kThreads + static_cast<int>(threadIdx.x);
  const int row = item / row_vectors, column = item % row_vectors * N;
  if (row >= chunk) return;
  for (int64_t matrix = blockIdx.y; matrix < matrices; matrix += gridDim.y) {
    int64_t first = 0;  // the first column that the row sees
    if (s.document) {
      const int64_t index = matrix % (s.batch * s.chunks), b = index / s.chunks, c = index % s.chunks;
      if (row >= chunk_rows(s, c)) continue;
      const int64_t start = document_start(s, b, c * s.chunk + row) - c * s.chunk;
      first = start > 0 ? start : 0;
    }
    if (column >= first && column + N - 1 <= row) continue;
    T* at = scores + matrix * s.chunk * s.chunk + static_cast<int64_t>(row) * s.chunk + column;
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

__device__ __forceinline__ bool holds(const Segments& s, RowMask mask, int64_t b, int64_t t) {
  const int64_t first = t / s.chunk * s.chunk;
  if (mask == RowMask::kSeesState) return document_start(s, b, t) < first;
  const int64_t last = first + chunk_rows(s, t / s.chunk) - 1;
  return t >= document_start(s, b, last);
}

/// Block: y rows of x vectors. kCopy: out = masked x; otherwise x's other rows are zeroed in place.
template <class T, int N, bool kCopy>
__global__ void __launch_bounds__(kThreads)
    mask_rows_kernel(T* out, int64_t out_batch, int64_t out_token, const T* x, int64_t batch_stride,
                     int64_t token_stride, int width, RowMask mask, const Segments s) {
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

constexpr int kStateVector = 4;  // elements a thread scans: 32,768 threads for one head of 256 x 512
constexpr int kAhead = 16;       // chunks loaded before the first is used: the scan's bytes in flight, 4 MB a head

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

/// Walks the chunks of one sequence, kAhead at a time. Step(chunk, product) gives what replaces the product.
template <class T, class Step>
__device__ __forceinline__ void walk(const Scan<T>& a, const Segments& s, T* at, bool reverse, Step&& step) {
  const int64_t chunks = s.chunks;
  for (int64_t first = 0; first < chunks; first += kAhead) {
    Pack<T, kStateVector> product[kAhead];
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const int64_t c = reverse ? chunks - 1 - (first + i) : first + i;
      if (first + i < chunks) product[i] = load_pack<kStateVector>(at + c * a.chunk_stride);
    }
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const int64_t c = reverse ? chunks - 1 - (first + i) : first + i;
      if (first + i >= chunks) continue;
      float x[kStateVector];
      unpack(product[i], x);
      step(c, x, at + c * a.chunk_stride);
    }
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads) scan_states_kernel(const Scan<T> a, const Segments s) {
  const int64_t element = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * kStateVector;
  const int64_t b = blockIdx.y;
  if (element >= a.elements) return;
  const double log2_gamma = *a.log2_gamma;
  const auto gamma = static_cast<float>(exp2(log2_gamma));
  const auto full = static_cast<float>(exp2(log2_gamma * static_cast<double>(s.chunk)));
  const auto last = static_cast<float>(exp2(log2_gamma * static_cast<double>(chunk_rows(s, s.chunks - 1))));
  float state[kStateVector] = {};
  if (a.boundary) {
    load(a.boundary + b * a.boundary_stride + element, state);
#pragma unroll
    for (int j = 0; j < kStateVector; ++j) state[j] *= gamma;
  }
  walk(a, s, a.states + b * a.batch_stride + element, false,
       [&](int64_t c, const float(&product)[kStateVector], T* at) {
         if (a.store) store(at, state);
         const float decay = c + 1 < s.chunks ? full : last;
         const float keep = !s.document || carries(s, b, c) ? 1.0F : 0.0F;
#pragma unroll
         for (int j = 0; j < kStateVector; ++j) state[j] = decay * (keep * state[j] + product[j]);
       });
  if (!a.result) return;
#pragma unroll
  for (int j = 0; j < kStateVector; ++j) state[j] /= gamma;
  store(a.result + b * a.boundary_stride + element, state);
}

template <class T>
__global__ void __launch_bounds__(kThreads) scan_states_reverse_kernel(const Scan<T> a, const Segments s) {
  const int64_t element = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * kStateVector;
  const int64_t b = blockIdx.y;
  if (element >= a.elements) return;
  const double log2_gamma = *a.log2_gamma;
  const auto gamma = static_cast<float>(exp2(log2_gamma));
  const auto full = static_cast<float>(exp2(log2_gamma * static_cast<double>(s.chunk)));
  const auto last = static_cast<float>(exp2(log2_gamma * static_cast<double>(chunk_rows(s, s.chunks - 1) - 1)));
  float gradient[kStateVector] = {};
  if (a.boundary) {
    load(a.boundary + b * a.boundary_stride + element, gradient);
#pragma unroll
    for (int j = 0; j < kStateVector; ++j) gradient[j] *= last;
  }
  walk(a, s, a.states + b * a.batch_stride + element, true, [&](int64_t c, const float(&product)[kStateVector], T* at) {
    if (a.store) store(at, gradient);
    const float decay = c == 0 ? gamma : full;  // every chunk but the last is full
    const float keep = !s.document || carries(s, b, c) ? 1.0F : 0.0F;
#pragma unroll
    for (int j = 0; j < kStateVector; ++j) gradient[j] = decay * (product[j] + keep * gradient[j]);
  });
  if (a.result) store(a.result + b * a.boundary_stride + element, gradient);
}

template <class T>
Scan<T> typed(const StateScan& x) {
  return {static_cast<T*>(x.states), x.batch_stride, x.chunk_stride, x.elements, x.boundary, x.result,
          x.boundary_stride,         x.log2_gamma,   x.store};
}

dim3 scan_grid(const StateScan& x, const Segments& s) {
  RETAIN_CHECK(s.batch <= 65535, "batch ", s.batch);
  return dim3(block_count(x.elements, int64_t{kThreads} * kStateVector), static_cast<unsigned>(s.batch));
}

/// Launches mask_rows_kernel with blocks of 256 threads that are one row of vectors wide.
template <class T, bool kCopy>
void launch_mask_rows(T* out, int64_t out_batch, int64_t out_token, const T* x, int64_t batch_stride,
                      int64_t token_stride, int64_t width, RowMask mask, const Segments& s, cudaStream_t stream) {
  constexpr int kN = kVectorOf<T>;
  unsigned across = 1;
  while (across < 256 && static_cast<int64_t>(across) * kN < width) across *= 2;
  const dim3 block(across, kThreads / across);
  mask_rows_kernel<T, kN, kCopy><<<block_count(s.batch * s.tokens, block.y), block, 0, stream>>>(
      out, out_batch, out_token, x, batch_stride, token_stride, static_cast<int>(width), mask, s);
}

}  // namespace

void mask_scores(const char* operation, DType type, void* scores, int64_t copies, const Segments& s,
                 cudaStream_t stream) {
  dispatch_compute(operation, type, [&](auto zero) {
    using T = decltype(zero);
    constexpr int kN = kVectorOf<T>;
    const int64_t matrices = copies * s.batch * s.chunks;
    const dim3 grid(block_count(s.chunk * s.chunk / kN, kThreads), looped_blocks(matrices));
    mask_scores_kernel<T, kN><<<grid, kThreads, 0, stream>>>(static_cast<T*>(scores), matrices, s);
  });
  LAUNCH_CHECK(operation, ": mask of the scores");
}

void zero_rows(const char* operation, DType type, void* x, int64_t batch_stride, int64_t token_stride, int64_t width,
               RowMask mask, const Segments& s, cudaStream_t stream) {
  dispatch_compute(operation, type, [&](auto zero) {
    using T = decltype(zero);
    launch_mask_rows<T, false>(static_cast<T*>(x), batch_stride, token_stride, nullptr, 0, 0, width, mask, s, stream);
  });
  LAUNCH_CHECK(operation, ": mask of rows");
}

void copy_masked_rows(const char* operation, DType type, void* out, const void* x, int64_t batch_stride,
                      int64_t token_stride, int64_t width, RowMask mask, const Segments& s, cudaStream_t stream) {
  dispatch_compute(operation, type, [&](auto zero) {
    using T = decltype(zero);
    launch_mask_rows<T, true>(static_cast<T*>(out), s.tokens * width, width, static_cast<const T*>(x), batch_stride,
                              token_stride, width, mask, s, stream);
  });
  LAUNCH_CHECK(operation, ": masked copy");
}

void scan_states(const char* operation, DType type, const StateScan& scan, const Segments& s, cudaStream_t stream) {
  dispatch_compute(operation, type, [&](auto zero) {
    using T = decltype(zero);
    scan_states_kernel<T><<<scan_grid(scan, s), kThreads, 0, stream>>>(typed<T>(scan), s);
  });
  LAUNCH_CHECK(operation, ": scan of the states");
}

void scan_states_reverse(const char* operation, DType type, const StateScan& scan, const Segments& s,
                         cudaStream_t stream) {
  dispatch_compute(operation, type, [&](auto zero) {
    using T = decltype(zero);
    scan_states_reverse_kernel<T><<<scan_grid(scan, s), kThreads, 0, stream>>>(typed<T>(scan), s);
  });
  LAUNCH_CHECK(operation, ": reverse scan of the states");
}

}  // namespace retain::cuda
