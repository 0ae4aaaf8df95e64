#include "kernels/cuda/tensor_map.h"

#include <array>

#include "kernels/cuda/check.h"

namespace retain::cuda {

TensorMapEncoder::TensorMapEncoder() {
  cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
#if CUDART_VERSION >= 12050
  CUDA_CHECK(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &encode_, 12000, cudaEnableDefault, &found));
#else
  CUDA_CHECK(cudaGetDriverEntryPoint("cuTensorMapEncodeTiled", &encode_, cudaEnableDefault, &found));
#endif
  if (found != cudaDriverEntryPointSuccess) {
    throw Error(ErrorKind::kDevice, "the GPU's driver is older than CUDA 12.0; update the driver");
  }
}

CUtensorMap TensorMapEncoder::boxes(const TensorView& x, int row_dim, int rows) const {
  constexpr int kMost = TensorView::kMaxRank;
  std::array<cuuint64_t, kMost> shape{}, stride{};
  std::array<cuuint32_t, kMost> box{}, step{};
  for (int i = 0; i < x.rank; ++i) {
    const int dim = x.rank - 1 - i;
    shape[i] = static_cast<cuuint64_t>(x.shape[dim]);
    // The stride of a dim of one element says nothing, but would be checked.
    if (i > 0) stride[i - 1] = static_cast<cuuint64_t>(x.shape[dim] > 1 ? x.stride[dim] * dtype_bytes(x.dtype) : 16);
    box[i] = i == 0 ? 64 : dim == row_dim ? static_cast<cuuint32_t>(rows) : 1;
    step[i] = 1;
  }
  CUtensorMap map;
  const auto encode = reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(encode_);
  const CUresult result =
      encode(&map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, static_cast<cuuint32_t>(x.rank), x.data, shape.data(),
             stride.data(), box.data(), step.data(), CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
             CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  RETAIN_CHECK(result == CUDA_SUCCESS, "no tensor map of ", x.describe(), ": CUresult ", static_cast<int>(result));
  return map;
}

}  // namespace retain::cuda
