// copy, fill and fill_normal: contracts in kernels/backend.h and kernels/ops.h.
#include "kernels/core/random.h"
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/dispatch.h"
#include "kernels/cuda/vector.cuh"

namespace retain::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kVector = 8;  // 16 bytes of bfloat16, two accesses of 16 bytes of float32

/// The common shape of two tensors with dims merged where both allow it; the last dim counts vectors.
struct Strided {
  int rank = 0;
  int64_t shape[TensorView::kMaxRank] = {}, dst[TensorView::kMaxRank] = {}, src[TensorView::kMaxRank] = {};
};

Strided merged(const TensorView& dst, const TensorView& src) {
  Strided s;
  for (int d = 0; d < dst.rank; ++d) {
    if (dst.shape[d] == 1 && !(s.rank == 0 && d + 1 == dst.rank)) continue;
    const int last = s.rank - 1;
    if (s.rank > 0 && s.dst[last] == dst.stride[d] * dst.shape[d] && s.src[last] == src.stride[d] * dst.shape[d]) {
      s.shape[last] *= dst.shape[d];
      s.dst[last] = dst.stride[d];
      s.src[last] = src.stride[d];
    } else {
      s.shape[s.rank] = dst.shape[d];
      s.dst[s.rank] = dst.stride[d];
      s.src[s.rank] = src.stride[d];
      ++s.rank;
    }
  }
  return s;
}

/// Turns the last dim into vectors of kVector elements if everything lies well for them.
bool vectorise(Strided& s, const TensorView& dst, const TensorView& src) {
  const int last = s.rank - 1;
  if (s.dst[last] != 1 || s.src[last] != 1 || s.shape[last] % kVector != 0) return false;
  if (reinterpret_cast<uintptr_t>(dst.data) % 16 != 0 || reinterpret_cast<uintptr_t>(src.data) % 16 != 0) return false;
  for (int d = 0; d < last; ++d) {
    if (s.dst[d] % kVector != 0 || s.src[d] % kVector != 0) return false;
  }
  s.shape[last] /= kVector;
  s.dst[last] = s.src[last] = kVector;
  return true;
}

template <class D, class S>
__device__ __forceinline__ D convert(S x) {
  return static_cast<D>(x);
}
template <>
__device__ __forceinline__ __nv_bfloat16 convert<__nv_bfloat16, float>(float x) {
  return __float2bfloat16_rn(x);
}
template <>
__device__ __forceinline__ __nv_bfloat16 convert<__nv_bfloat16, double>(double x) {
  return __double2bfloat16(x);
}
template <>
__device__ __forceinline__ float convert<float, __nv_bfloat16>(__nv_bfloat16 x) {
  return __bfloat162float(x);
}
template <>
__device__ __forceinline__ double convert<double, __nv_bfloat16>(__nv_bfloat16 x) {
  return static_cast<double>(__bfloat162float(x));
}

struct Offsets {
  int64_t dst = 0, src = 0;
};

__device__ __forceinline__ Offsets offsets_of(int64_t item, const Strided& s) {
  Offsets o;
  for (int d = s.rank - 1; d > 0; --d) {
    const int64_t i = item % s.shape[d];
    item /= s.shape[d];
    o.dst += i * s.dst[d];
    o.src += i * s.src[d];
  }
  o.dst += item * s.dst[0];
  o.src += item * s.src[0];
  return o;
}

template <class D, class S, int N>
__global__ void __launch_bounds__(kThreads) copy_kernel(D* dst, const S* src, const Strided s, int64_t items) {
  const int64_t item = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (item >= items) return;
  const Offsets o = offsets_of(item, s);
  const Pack<S, N> in = load_pack<N>(src + o.src);
  Pack<D, N> out;
#pragma unroll
  for (int j = 0; j < N; ++j) out.v[j] = convert<D, S>(in.v[j]);
  store_pack<N>(dst + o.dst, out);
}

template <class D>
__global__ void __launch_bounds__(kThreads) fill_kernel(D* x, const Strided s, int64_t items, D value) {
  const int64_t item = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (item < items) x[offsets_of(item, s).dst] = value;
}

__global__ void __launch_bounds__(kThreads)
    fill_normal_kernel(float* x, int64_t rows, int64_t columns, int64_t stride, uint64_t key, double std,
                       int64_t global_columns, int64_t first_row, int64_t first_column) {
  const int64_t item = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (item >= rows * columns) return;
  const int64_t row = item / columns, column = item % columns;
  const int64_t index = (first_row + row) * global_columns + first_column + column;
  x[row * stride + column] = static_cast<float>(std * philox_normal(key, static_cast<uint64_t>(index)));
}

/// Calls f(T{}) with the element type.
template <class F>
void dispatch_floating(const char* operation, DType dtype, F&& f) {
  if (dtype == DType::kFloat64) return f(double{});
  dispatch_compute(operation, dtype, f);
}

template <class D, class S>
void launch_copy(const TensorView& dst, const TensorView& src, cudaStream_t stream) {
  Strided s = merged(dst, src);
  const bool vector = vectorise(s, dst, src);
  int64_t items = 1;
  for (int d = 0; d < s.rank; ++d) items *= s.shape[d];
  const unsigned blocks = block_count(items, kThreads);
  if (vector) {
    copy_kernel<D, S, kVector><<<blocks, kThreads, 0, stream>>>(pointer<D>(dst), pointer<S>(src), s, items);
  } else {
    copy_kernel<D, S, 1><<<blocks, kThreads, 0, stream>>>(pointer<D>(dst), pointer<S>(src), s, items);
  }
}

}  // namespace

void CudaBackend::copy(const TensorView& dst, const TensorView& src) {
  check_copy(dst, src);
  Queue& queue = current();
  if (dst.elements() == 0) return;
  if (dst.dtype == src.dtype && dst.contiguous() && src.contiguous()) {
    CUDA_CHECK(
        cudaMemcpyAsync(dst.data, src.data, static_cast<size_t>(dst.bytes()), cudaMemcpyDeviceToDevice, queue.stream()),
        "copy of ", dst.describe());
    return;
  }
  if (dst.dtype == src.dtype && dst.dtype == DType::kInt32) {
    launch_copy<int32_t, int32_t>(dst, src, queue.stream());
  } else if (dst.dtype == src.dtype && dst.dtype == DType::kUint8) {
    launch_copy<uint8_t, uint8_t>(dst, src, queue.stream());
  } else {
    dispatch_floating("copy", dst.dtype, [&](auto d) {
      dispatch_floating("copy", src.dtype,
                        [&](auto s) { launch_copy<decltype(d), decltype(s)>(dst, src, queue.stream()); });
    });
  }
  LAUNCH_CHECK("copy of ", src.describe(), " to ", dst.describe());
}

void CudaBackend::fill(const TensorView& x, double value) {
  RETAIN_CHECK(x, "fill of an absent tensor");
  Queue& queue = current();
  const int64_t items = x.elements();
  if (items == 0) return;
  if (value == 0 && x.contiguous()) {
    CUDA_CHECK(cudaMemsetAsync(x.data, 0, static_cast<size_t>(x.bytes()), queue.stream()), "fill of ", x.describe());
    return;
  }
  const Strided s = merged(x, x);
  const unsigned blocks = block_count(items, kThreads);
  const auto run = [&](auto element) {
    using T = decltype(element);
    fill_kernel<T><<<blocks, kThreads, 0, queue.stream()>>>(pointer<T>(x), s, items, element);
  };
  switch (x.dtype) {
    case DType::kFloat64: run(value); break;
    case DType::kFloat32: run(static_cast<float>(value)); break;
    case DType::kBfloat16: run(__float2bfloat16_rn(static_cast<float>(value))); break;
    case DType::kInt32: run(static_cast<int32_t>(value)); break;
    case DType::kUint8: run(static_cast<uint8_t>(value)); break;
  }
  LAUNCH_CHECK("fill of ", x.describe());
}

void CudaBackend::do_fill_normal(const FillNormalArgs& args) {
  Queue& queue = current();
  const TensorView& x = args.x;
  if (x.elements() == 0) return;
  RETAIN_CHECK(x.dtype == DType::kFloat32, "fill_normal of ", x.describe());
  fill_normal_kernel<<<block_count(x.elements(), kThreads), kThreads, 0, queue.stream()>>>(
      pointer<float>(x), x.shape[0], x.shape[1], x.stride[0], args.key, args.std, args.global_columns, args.first_row,
      args.first_column);
  LAUNCH_CHECK("fill_normal");
}

}  // namespace retain::cuda
