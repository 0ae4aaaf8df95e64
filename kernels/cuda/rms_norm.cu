// rms_norm and rms_norm_backward: contracts in kernels/ops.h.
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/row.cuh"

namespace retain::cuda {

namespace {

template <class T>
struct Forward {
  const T* x;
  const T* residual;  // may be null
  const float* weight;
  T* sum;  // may be x or residual
  T* y;
  float* rstd;
  int64_t x_stride, residual_stride, sum_stride, y_stride;
  int64_t rows;
  int width;
  float eps;
};

template <class T, class R>
__global__ void __launch_bounds__(R::kBlock) rms_norm_kernel(const Forward<T> a) {
  __shared__ float shared[R::kBlock / 32];
  for (int64_t row = R::first_row(); row < a.rows; row += R::row_step()) {
    float x[R::kPerThread][R::kVector];
    float squares = 0;
#pragma unroll
    for (int i = 0; i < R::kPerThread; ++i) {
      const int column = R::column(i);
      if (column >= a.width) continue;
      load(a.x + row * a.x_stride + column, x[i]);
      if (a.residual) {
        float residual[R::kVector];
        load(a.residual + row * a.residual_stride + column, residual);
#pragma unroll
        for (int j = 0; j < R::kVector; ++j) {
          x[i][j] = to_float(from_float<T>(x[i][j] + residual[j]));  // the norm of the sum as it is stored
        }
        store(a.sum + row * a.sum_stride + column, x[i]);
      }
#pragma unroll
      for (int j = 0; j < R::kVector; ++j) squares += x[i][j] * x[i][j];
    }
    const float mean = R::sum(squares, shared) / static_cast<float>(a.width);
    const float rstd = rsqrtf(mean + a.eps);
    if (R::thread() == 0) a.rstd[row] = rstd;
#pragma unroll
    for (int i = 0; i < R::kPerThread; ++i) {
      const int column = R::column(i);
      if (column >= a.width) continue;
      float weight[R::kVector];
      load(a.weight + column, weight);
#pragma unroll
      for (int j = 0; j < R::kVector; ++j) x[i][j] *= rstd * weight[j];
      store(a.y + row * a.y_stride + column, x[i]);
    }
  }
}

template <class T>
struct Backward {
  const T* dy;
  const T* x;
  const float* weight;
  const float* rstd;
  const T* dresidual;  // may be null
  T* dx;               // may be dresidual or dy
  float* partials;     // [blocks, width]
  int64_t dy_stride, x_stride, dresidual_stride, dx_stride;
  int64_t rows;
  int width;
};

template <class T, class R>
__global__ void __launch_bounds__(R::kBlock) rms_norm_backward_kernel(const Backward<T> a) {
  __shared__ float shared[R::kBlock / 32];
  float dweight[R::kPerThread][R::kVector] = {};
  float weight[R::kPerThread][R::kVector] = {};
#pragma unroll
  for (int i = 0; i < R::kPerThread; ++i) {
    if (R::column(i) < a.width) load(a.weight + R::column(i), weight[i]);
  }
  for (int64_t row = R::first_row(); row < a.rows; row += R::row_step()) {
    Pack<T, R::kVector> dy[R::kPerThread], x[R::kPerThread], dresidual[R::kPerThread];
#pragma unroll
    for (int i = 0; i < R::kPerThread; ++i) {
      const int column = R::column(i);
      if (column >= a.width) continue;
      dy[i] = load_pack<R::kVector>(a.dy + row * a.dy_stride + column);
      x[i] = load_pack<R::kVector>(a.x + row * a.x_stride + column);
      if (a.dresidual) dresidual[i] = load_pack<R::kVector>(a.dresidual + row * a.dresidual_stride + column);
    }
    const float rstd = a.rstd[row];
    float product = 0;
#pragma unroll
    for (int i = 0; i < R::kPerThread; ++i) {
      if (R::column(i) >= a.width) continue;
#pragma unroll
      for (int j = 0; j < R::kVector; ++j) {
        const float normal = to_float(x[i].v[j]) * rstd, dnormal = to_float(dy[i].v[j]);
        dweight[i][j] += dnormal * normal;
        product += weight[i][j] * dnormal * normal;
      }
    }
    const float mean = R::sum(product, shared) / static_cast<float>(a.width);
#pragma unroll
    for (int i = 0; i < R::kPerThread; ++i) {
      const int column = R::column(i);
      if (column >= a.width) continue;
      float dx[R::kVector];
#pragma unroll
      for (int j = 0; j < R::kVector; ++j) {
        dx[j] = rstd * (weight[i][j] * to_float(dy[i].v[j]) - to_float(x[i].v[j]) * rstd * mean);
        if (a.dresidual) dx[j] += to_float(dresidual[i].v[j]);
      }
      store(a.dx + row * a.dx_stride + column, dx);
    }
  }
  store_column_partials<R>(dweight, a.width, a.partials);
}

}  // namespace

void CudaBackend::do_rms_norm(const RmsNormArgs& args) {
  Queue& queue = current();
  const int64_t rows = args.x.shape[0], width = args.x.shape[1];
  if (rows == 0) return;
  dispatch_compute("rms_norm", args.x.dtype, [&](auto zero) {
    using T = decltype(zero);
    const Forward<T> a{pointer<T>(args.x),
                       pointer<T>(args.residual),
                       pointer<float>(args.weight),
                       pointer<T>(args.sum),
                       pointer<T>(args.y),
                       pointer<float>(args.rstd),
                       args.x.stride[0],
                       args.residual.stride[0],
                       args.sum.stride[0],
                       args.y.stride[0],
                       rows,
                       static_cast<int>(width),
                       static_cast<float>(args.eps)};
    const bool aligned = vectors_aligned(args.x, args.residual, args.sum, args.y, args.weight);
    dispatch_row<T>("rms_norm", width, aligned, [&](auto row) {
      using R = decltype(row);
      rms_norm_kernel<T, R><<<block_count(rows, R::kGroups), R::kBlock, 0, queue.stream()>>>(a);
    });
  });
  LAUNCH_CHECK("rms_norm");
}

void CudaBackend::do_rms_norm_backward(const RmsNormBackwardArgs& args) {
  Queue& queue = current();
  const int64_t rows = args.x.shape[0], width = args.x.shape[1];
  if (rows == 0) return;
  auto* partials = static_cast<float*>(queue.scratch("rms_norm_backward", column_partials_bytes(width)));
  unsigned blocks = 0;
  dispatch_compute("rms_norm_backward", args.x.dtype, [&](auto zero) {
    using T = decltype(zero);
    const Backward<T> a{pointer<T>(args.dy),
                        pointer<T>(args.x),
                        pointer<float>(args.weight),
                        pointer<float>(args.rstd),
                        pointer<T>(args.dresidual),
                        pointer<T>(args.dx),
                        partials,
                        args.dy.stride[0],
                        args.x.stride[0],
                        args.dresidual.stride[0],
                        args.dx.stride[0],
                        rows,
                        static_cast<int>(width)};
    const bool aligned = vectors_aligned(args.dy, args.x, args.dresidual, args.dx, args.weight);
    dispatch_row<T>("rms_norm_backward", width, aligned, [&](auto row) {
      using R = decltype(row);
      const auto kernel = rms_norm_backward_kernel<T, R>;
      blocks = persistent_blocks(kernel, R::kBlock, rows, R::kGroups, queue.multiprocessors());
      kernel<<<blocks, R::kBlock, 0, queue.stream()>>>(a);
    });
  });
  LAUNCH_CHECK("rms_norm_backward");
  add_column_sums("rms_norm_backward", partials, blocks, width, pointer<float>(args.dweight), queue.stream());
}

}  // namespace retain::cuda
