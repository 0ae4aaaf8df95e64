// head_norm_gate and head_norm_gate_backward: contracts in kernels/ops.h. A row is one head of one token.
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/fast_math.cuh"
#include "kernels/cuda/row.cuh"

namespace retain::cuda {

namespace {

/// Strides of a [B,T,H,V] tensor and the place of a row in it.
struct Heads {
  int64_t batch, token, head;
};

Heads strides_of(const TensorView& x) { return {x.stride[0], x.stride[1], x.stride[2]}; }

struct RowIndex {
  uint32_t b, t, h;
};

__device__ __forceinline__ RowIndex row_index(uint32_t row, uint32_t tokens, uint32_t heads) {
  const uint32_t token_row = row / heads;
  return {token_row / tokens, token_row % tokens, row % heads};
}

__device__ __forceinline__ int64_t offset(const Heads& s, const RowIndex& r) {
  return r.b * s.batch + r.t * s.token + r.h * s.head;
}

template <class T>
struct Forward {
  const T* o;
  const T* g;
  const float* weight;       // may be null
  const double* log2_gamma;  // for the rowsum epsilon
  const int32_t* document;   // [B,T] document starts, may be null
  T* y;
  float* rstd;
  Heads o_strides, g_strides, y_strides;
  int64_t document_stride, position_offset;
  uint32_t rows, tokens, heads;
  int width;
  bool rowsum;
  double eps;
};

/// eps, or eps times the sum of the decays of the tokens seen: (1 − γ^m)/(1 − γ).
template <class T>
__device__ __forceinline__ float epsilon(const Forward<T>& a, const RowIndex& r) {
  if (!a.rowsum) return static_cast<float>(a.eps);
  const int64_t start = a.document ? a.document[r.b * a.document_stride + r.t] : 0;
  const auto seen = static_cast<double>(a.position_offset + r.t + 1 - start);
  const double log_gamma = a.log2_gamma[r.h] * 0.693147180559945309417232121458;
  if (log_gamma == 0) return static_cast<float>(a.eps * seen);
  // Both differences keep their relative accuracy in float; in double they would take as long as the row.
  const float decays = expm1f(static_cast<float>(seen * log_gamma)) / expm1f(static_cast<float>(log_gamma));
  return static_cast<float>(a.eps) * decays;
}

__device__ __forceinline__ float sigmoid(float x) {
  return reciprocal_approximate(1.0F + exp2_approximate(-kLog2E * x));
}

template <class T, class R>
__global__ void __launch_bounds__(R::kBlock) head_norm_gate_kernel(const Forward<T> a) {
  __shared__ float shared[R::kBlock / 32];
  for (int64_t row = R::first_row(); row < a.rows; row += R::row_step()) {
    const RowIndex r = row_index(static_cast<uint32_t>(row), a.tokens, a.heads);
    const T* o_row = a.o + offset(a.o_strides, r);
    const T* g_row = a.g + offset(a.g_strides, r);
    T* y_row = a.y + offset(a.y_strides, r);
    Pack<T, R::kVector> o[R::kPerThread], g[R::kPerThread];
#pragma unroll
    for (int i = 0; i < R::kPerThread; ++i) {
      const int column = R::column(i);
      if (column >= a.width) continue;
      o[i] = load_pack<R::kVector>(o_row + column);
      g[i] = load_pack<R::kVector>(g_row + column);
    }
    const float eps = epsilon(a, r);
    float squares = 0;
#pragma unroll
    for (int i = 0; i < R::kPerThread; ++i) {
      if (R::column(i) >= a.width) continue;
#pragma unroll
      for (int j = 0; j < R::kVector; ++j) squares += to_float(o[i].v[j]) * to_float(o[i].v[j]);
    }
    const float mean = R::sum(squares, shared) / static_cast<float>(a.width);
    const float rstd = rsqrtf(mean + eps);
    if (R::thread() == 0) a.rstd[row] = rstd;
#pragma unroll
    for (int i = 0; i < R::kPerThread; ++i) {
      const int column = R::column(i);
      if (column >= a.width) continue;
      float weight[R::kVector];
#pragma unroll
      for (int j = 0; j < R::kVector; ++j) weight[j] = 1;
      if (a.weight) load(a.weight + column, weight);
      float y[R::kVector];
#pragma unroll
      for (int j = 0; j < R::kVector; ++j) {
        const float gate = to_float(g[i].v[j]);
        y[j] = to_float(o[i].v[j]) * rstd * weight[j] * gate * sigmoid(gate);
      }
      store(y_row + column, y);
    }
  }
}

template <class T>
struct Backward {
  const T* dy;
  const T* o;
  const T* g;
  const float* weight;  // may be null
  const float* rstd;
  T* dout;          // may be dy or o
  T* dg;            // may be g
  float* partials;  // [blocks, width], null without a weight
  Heads dy_strides, o_strides, g_strides, dout_strides, dg_strides;
  uint32_t rows, tokens, heads;
  int width;
};

/// What the backward reads of one row.
template <class T, class R>
struct Inputs {
  Pack<T, R::kVector> dy[R::kPerThread], o[R::kPerThread], g[R::kPerThread];
  float rstd;

  __device__ __forceinline__ void load(const Backward<T>& a, int64_t row) {
    const RowIndex r = row_index(static_cast<uint32_t>(row), a.tokens, a.heads);
    const T* dy_row = a.dy + offset(a.dy_strides, r);
    const T* o_row = a.o + offset(a.o_strides, r);
    const T* g_row = a.g + offset(a.g_strides, r);
#pragma unroll
    for (int i = 0; i < R::kPerThread; ++i) {
      const int column = R::column(i);
      if (column >= a.width) continue;
      dy[i] = load_pack<R::kVector>(dy_row + column);
      o[i] = load_pack<R::kVector>(o_row + column);
      g[i] = load_pack<R::kVector>(g_row + column);
    }
    rstd = a.rstd[row];
  }
};

template <class T, class R>
__global__ void __launch_bounds__(R::kBlock, R::kBlock <= 256 && R::kPerThread <= 2 ? 2 : 1)
    head_norm_gate_backward_kernel(const Backward<T> a) {
  // Rows of one vector a thread leave registers to load the next row while this one is worked on; with two the
  // registers spill, and the kernel took 261 us instead of 208 for 131,072 rows of 512. Outputs alias inputs of the
  // same row only.
  constexpr bool kAhead = R::kPerThread == 1;
  __shared__ float shared[R::kBlock / 32];
  float dweight[R::kPerThread][R::kVector] = {};
  Inputs<T, R> in, next;
  if (kAhead && R::first_row() < a.rows) next.load(a, R::first_row());
  for (int64_t row = R::first_row(); row < a.rows; row += R::row_step()) {
    if constexpr (kAhead) {
      in = next;
      if (row + R::row_step() < a.rows) next.load(a, row + R::row_step());
    } else {
      in.load(a, row);
    }
    const RowIndex r = row_index(static_cast<uint32_t>(row), a.tokens, a.heads);
    T* dout_row = a.dout + offset(a.dout_strides, r);
    T* dg_row = a.dg + offset(a.dg_strides, r);
    const float rstd = in.rstd;
    float dnormal[R::kPerThread][R::kVector];  // gradient of the normalised output
    float product = 0;
#pragma unroll
    for (int i = 0; i < R::kPerThread; ++i) {
      const int column = R::column(i);
      if (column >= a.width) continue;
      float weight[R::kVector];
#pragma unroll
      for (int j = 0; j < R::kVector; ++j) weight[j] = 1;
      if (a.weight) load(a.weight + column, weight);
      float dg[R::kVector];
#pragma unroll
      for (int j = 0; j < R::kVector; ++j) {
        const float normal = to_float(in.o[i].v[j]) * rstd, d = to_float(in.dy[i].v[j]);
        const float gate = to_float(in.g[i].v[j]);
        const float s = sigmoid(gate), silu = gate * s;
        dg[j] = d * normal * weight[j] * s * (1.0F + gate * (1.0F - s));
        dweight[i][j] += d * silu * normal;
        dnormal[i][j] = d * silu * weight[j];
        product += dnormal[i][j] * normal;
      }
      store(dg_row + column, dg);
    }
    const float mean = R::sum(product, shared) / static_cast<float>(a.width);
#pragma unroll
    for (int i = 0; i < R::kPerThread; ++i) {
      const int column = R::column(i);
      if (column >= a.width) continue;
#pragma unroll
      for (int j = 0; j < R::kVector; ++j) {
        dnormal[i][j] = rstd * (dnormal[i][j] - to_float(in.o[i].v[j]) * rstd * mean);
      }
      store(dout_row + column, dnormal[i]);
    }
  }
  if (a.partials) store_column_partials<R>(dweight, a.width, a.partials);
}

uint32_t row_count(const char* operation, const TensorView& x) {
  const int64_t rows = x.shape[0] * x.shape[1] * x.shape[2];
  RETAIN_CHECK(rows < (int64_t{1} << 32), operation, " of ", x.describe());
  return static_cast<uint32_t>(rows);
}

}  // namespace

void CudaBackend::do_head_norm_gate(const HeadNormGateArgs& args) {
  Queue& queue = current();
  const TensorView& o = args.o;
  const uint32_t rows = row_count("head_norm_gate", o);
  if (rows == 0) return;
  dispatch_compute("head_norm_gate", o.dtype, [&](auto zero) {
    using T = decltype(zero);
    const Forward<T> a{pointer<T>(o),
                       pointer<T>(args.g),
                       pointer<float>(args.weight),
                       pointer<double>(args.log2_gamma),
                       pointer<int32_t>(args.document_start),
                       pointer<T>(args.y),
                       pointer<float>(args.rstd),
                       strides_of(o),
                       strides_of(args.g),
                       strides_of(args.y),
                       args.document_start.stride[0],
                       args.position_offset,
                       rows,
                       static_cast<uint32_t>(o.shape[1]),
                       static_cast<uint32_t>(o.shape[2]),
                       static_cast<int>(o.shape[3]),
                       args.eps_kind == GroupNormEps::kRowsum,
                       args.eps};
    const bool aligned = vectors_aligned(o, args.g, args.y, args.weight);
    dispatch_row<T>("head_norm_gate", o.shape[3], aligned, [&](auto row) {
      using R = decltype(row);
      head_norm_gate_kernel<T, R><<<block_count(rows, R::kGroups), R::kBlock, 0, queue.stream()>>>(a);
    });
  });
  LAUNCH_CHECK("head_norm_gate");
}

void CudaBackend::do_head_norm_gate_backward(const HeadNormGateBackwardArgs& args) {
  Queue& queue = current();
  const TensorView& o = args.o;
  const uint32_t rows = row_count("head_norm_gate_backward", o);
  const int64_t width = o.shape[3];
  if (rows == 0) return;
  float* partials = nullptr;
  if (args.dweight) {
    partials = static_cast<float*>(queue.scratch("head_norm_gate_backward", column_partials_bytes(width)));
  }
  unsigned blocks = 0;
  dispatch_compute("head_norm_gate_backward", o.dtype, [&](auto zero) {
    using T = decltype(zero);
    const Backward<T> a{pointer<T>(args.dy),
                        pointer<T>(o),
                        pointer<T>(args.g),
                        pointer<float>(args.weight),
                        pointer<float>(args.rstd),
                        pointer<T>(args.dout),
                        pointer<T>(args.dg),
                        partials,
                        strides_of(args.dy),
                        strides_of(o),
                        strides_of(args.g),
                        strides_of(args.dout),
                        strides_of(args.dg),
                        rows,
                        static_cast<uint32_t>(o.shape[1]),
                        static_cast<uint32_t>(o.shape[2]),
                        static_cast<int>(width)};
    const bool aligned = vectors_aligned(args.dy, o, args.g, args.dout, args.dg, args.weight);
    dispatch_row<T>("head_norm_gate_backward", width, aligned, [&](auto row) {
      using R = decltype(row);
      const auto kernel = head_norm_gate_backward_kernel<T, R>;
      blocks = persistent_blocks(kernel, R::kBlock, rows, R::kGroups, queue.multiprocessors());
      kernel<<<blocks, R::kBlock, 0, queue.stream()>>>(a);
    });
  });
  LAUNCH_CHECK("head_norm_gate_backward");
  if (partials) {
    add_column_sums("head_norm_gate_backward", partials, blocks, width, pointer<float>(args.dweight), queue.stream());
  }
}

}  // namespace retain::cuda
