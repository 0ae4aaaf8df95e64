#include "kernels/cuda/handles.h"

#include <algorithm>

namespace retain::cuda {

DeviceMemory allocate_device(int64_t bytes, const char* what) {
  void* memory = nullptr;
  const cudaError_t status = cudaMalloc(&memory, static_cast<size_t>(std::max<int64_t>(bytes, 1)));
  if (status == cudaErrorMemoryAllocation) {
    static_cast<void>(cudaGetLastError());  // this error does not stick; later calls must not see it
    size_t free = 0, total = 0;
    CUDA_CHECK(cudaMemGetInfo(&free, &total));
    constexpr double kGib = 1024.0 * 1024.0 * 1024.0;
    throw Error(ErrorKind::kOutOfMemory,
                concat("out of GPU memory: ", what, " asked for ", bytes, " bytes (", static_cast<double>(bytes) / kGib,
                       " GiB), free are ", static_cast<double>(free) / kGib, " of ", static_cast<double>(total) / kGib,
                       " GiB"));
  }
  CUDA_CHECK(status, what);
  return DeviceMemory(memory);
}

PinnedMemory allocate_pinned(int64_t bytes) {
  void* memory = nullptr;
  CUDA_CHECK(cudaHostAlloc(&memory, static_cast<size_t>(bytes), cudaHostAllocDefault), "pinned host memory of ", bytes,
             " bytes");
  return PinnedMemory(memory);
}

}  // namespace retain::cuda
