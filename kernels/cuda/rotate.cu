// rotate: contract in kernels/ops.h. A thread takes one vector of pairs of one token through a few heads: the table is
// read once for all of them, and all their loads are in flight before the first store (y may be x, so the compiler
// would not move a load over a store).
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/dispatch.h"
#include "kernels/cuda/vector.cuh"

namespace retain::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kHeads = 4;   // of one thread: 128 bytes in flight
constexpr int kBlocks = 2;  // on a multiprocessor, by what registers a thread may have

template <class T>
struct Rotation {
  const T* x;
  T* y;  // may be x
  const float* table;
  const double* log2_gamma;
  int64_t x_batch, x_token, x_head, y_batch, y_token, y_head;
  uint32_t items, tokens, heads, half, fold_chunk;
  int fold_sign;
  float scale, sine_sign;
};

template <class T, int N>
__global__ void __launch_bounds__(kThreads, kBlocks) rotate_kernel(const Rotation<T> a) {
  const uint32_t item = blockIdx.x * kThreads + threadIdx.x;
  if (item >= a.items) return;
  const uint32_t vectors = a.half / N;
  const uint32_t j = item % vectors * N, row = item / vectors;
  const uint32_t t = row % a.tokens, b = row / a.tokens;

  const uint32_t head = blockIdx.y * kHeads, heads = a.heads - head;  // from this head on
  const T* x = a.x + b * a.x_batch + t * a.x_token + head * a.x_head + j;
  T* y = a.y + b * a.y_batch + t * a.y_token + head * a.y_head + j;
  Pack<T, N> first[kHeads], second[kHeads];
#pragma unroll
  for (uint32_t h = 0; h < kHeads; ++h) {
    if (h >= heads) continue;
    first[h] = load_pack<N>(x + h * a.x_head);
    second[h] = load_pack<N>(x + h * a.x_head + a.half);
  }
  float angles[2 * N];
  load(a.table + (int64_t{t} * a.half + j) * 2, angles);
  const double exponent = a.fold_chunk ? a.fold_sign * static_cast<double>(t % a.fold_chunk) : 0.0;
#pragma unroll
  for (uint32_t h = 0; h < kHeads; ++h) {
    if (h >= heads) continue;
    float factor = a.scale;
    if (a.fold_chunk) factor *= exp2f(static_cast<float>(a.log2_gamma[head + h] * exponent));
    float u[N], w[N], left[N], right[N];
    unpack(first[h], u);
    unpack(second[h], w);
#pragma unroll
    for (int l = 0; l < N; ++l) {
      const float cosine = angles[2 * l] * factor, sine = angles[2 * l + 1] * a.sine_sign * factor;
      left[l] = u[l] * cosine - w[l] * sine;
      right[l] = w[l] * cosine + u[l] * sine;
    }
    store(y + h * a.y_head, left);
    store(y + h * a.y_head + a.half, right);
  }
}

}  // namespace

void CudaBackend::do_rotate(const RotateArgs& args) {
  Queue& queue = current();
  const TensorView &x = args.x, &y = args.y;
  const int64_t half = x.shape[3] / 2;
  if (x.elements() == 0) return;
  dispatch_compute("rotate", x.dtype, [&](auto zero) {
    using T = decltype(zero);
    constexpr int kN = kVectorOf<T>;
    // The table is contiguous: a whole number of pairs behind its start, whatever its strides.
    const bool vector =
        half % kN == 0 && vectors_aligned(x, y) && reinterpret_cast<uintptr_t>(args.table.data) % 16 == 0;
    const int64_t items = x.shape[0] * x.shape[1] * half / (vector ? kN : 1);
    RETAIN_CHECK(items < (int64_t{1} << 32) - kThreads, "rotate of ", x.describe());
    const Rotation<T> a{pointer<T>(x),
                        pointer<T>(y),
                        pointer<float>(args.table),
                        pointer<double>(args.log2_gamma),
                        x.stride[0],
                        x.stride[1],
                        x.stride[2],
                        y.stride[0],
                        y.stride[1],
                        y.stride[2],
                        static_cast<uint32_t>(items),
                        static_cast<uint32_t>(x.shape[1]),
                        static_cast<uint32_t>(x.shape[2]),
                        static_cast<uint32_t>(half),
                        static_cast<uint32_t>(args.fold_chunk),
                        args.fold_sign,
                        static_cast<float>(args.scale),
                        args.inverse ? -1.0F : 1.0F};
    const int64_t head_groups = (x.shape[2] + kHeads - 1) / kHeads;
    RETAIN_CHECK(head_groups <= 65535, "rotate of ", x.describe());
    const dim3 grid(block_count(items, kThreads), static_cast<unsigned>(head_groups));
    if (vector) {
      rotate_kernel<T, kN><<<grid, kThreads, 0, queue.stream()>>>(a);
    } else {
      rotate_kernel<T, 1><<<grid, kThreads, 0, queue.stream()>>>(a);
    }
  });
  LAUNCH_CHECK("rotate");
}

}  // namespace retain::cuda
