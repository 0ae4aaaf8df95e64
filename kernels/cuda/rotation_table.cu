// rotation_table: contract in kernels/ops.h. A thread takes one pair; its angle and both functions are float64, which a
// GPU reduces exactly whatever the angle is.
#include "kernels/cuda/cuda_backend.h"
#include "kernels/cuda/dispatch.h"
#include "kernels/cuda/vector.cuh"

namespace retain::cuda {

namespace {

constexpr int kThreads = 256;

__global__ void __launch_bounds__(kThreads)
    rotation_table_kernel(const double* theta, const int32_t* positions, int64_t position_stride, float2* table,
                          int64_t offset, int64_t items, int64_t pairs) {
  const int64_t item = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (item >= items) return;
  double sine = 0, cosine = 0;
  const int64_t t = item / pairs, position = positions ? positions[t * position_stride] : offset + t;
  sincos(static_cast<double>(position) * theta[item % pairs], &sine, &cosine);
  table[item] = {static_cast<float>(cosine), static_cast<float>(sine)};
}

}  // namespace

void CudaBackend::do_rotation_table(const RotationTableArgs& args) {
  if (args.table.dtype != DType::kFloat32) {
    throw Error(ErrorKind::kDevice, concat("rotation_table: ", dtype_name(args.table.dtype), " on a GPU"));
  }
  const int64_t pairs = args.table.shape[1], items = args.table.shape[0] * pairs;
  if (items == 0) return;
  rotation_table_kernel<<<block_count(items, kThreads), kThreads, 0, current().stream()>>>(
      args.theta.as<double>(), pointer<int32_t>(args.positions), args.positions.stride[0],
      static_cast<float2*>(args.table.data), args.offset, items, pairs);
  LAUNCH_CHECK("rotation_table");
}

}  // namespace retain::cuda
