// rotate: contract in kernels/ops.h. A thread takes one vector of pairs of one token through all heads, so that the
// table is read once a token and the heads' loads are independent.
#include "kernels/cuda/dispatch.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/vector.cuh"

namespace retain::cuda {

namespace {

constexpr int kThreads = 256;

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
__global__ void __launch_bounds__(kThreads) rotate_kernel(const Rotation<T> a) {
  const uint32_t item = blockIdx.x * kThreads + threadIdx.x;
  if (item >= a.items) return;
  const uint32_t vectors = a.half / N;
  const uint32_t j = item % vectors * N, row = item / vectors;
  const uint32_t t = row % a.tokens, b = row / a.tokens;

  float angles[2 * N];
  load(a.table + (int64_t{t} * a.half + j) * 2, angles);
  const T* x = a.x + b * a.x_batch + t * a.x_token + j;
  T* y = a.y + b * a.y_batch + t * a.y_token + j;
  const double exponent = a.fold_chunk ? a.fold_sign * static_cast<double>(t % a.fold_chunk) : 0.0;
#pragma unroll 4
  for (uint32_t h = 0; h < a.heads; ++h) {
    float first[N], second[N];
    load(x + h * a.x_head, first);
    load(x + h * a.x_head + a.half, second);
    float factor = a.scale;
    if (a.fold_chunk) factor *= exp2f(static_cast<float>(a.log2_gamma[h] * exponent));
#pragma unroll
    for (int l = 0; l < N; ++l) {
      const float cosine = angles[2 * l] * factor, sine = angles[2 * l + 1] * a.sine_sign * factor;
      const float u = first[l], w = second[l];
      first[l] = u * cosine - w * sine;
      second[l] = w * cosine + u * sine;
    }
    store(y + h * a.y_head, first);
    store(y + h * a.y_head + a.half, second);
  }
}

}  // namespace

void rotate(Queue& queue, const RotateArgs& args) {
  const TensorView &x = args.x, &y = args.y;
  const int64_t half = x.shape[3] / 2;
  if (x.elements() == 0) return;
  dispatch_compute("rotate", x.dtype, [&](auto zero) {
    using T = decltype(zero);
    constexpr int kN = kVectorOf<T>;
    const bool vector = half % kN == 0 && vectors_aligned(x, y, args.table);
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
    if (vector) {
      rotate_kernel<T, kN><<<block_count(items, kThreads), kThreads, 0, queue.stream()>>>(a);
    } else {
      rotate_kernel<T, 1><<<block_count(items, kThreads), kThreads, 0, queue.stream()>>>(a);
    }
  });
  LAUNCH_CHECK("rotate");
}

}  // namespace retain::cuda
