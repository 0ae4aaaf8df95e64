#include "kernels/gpu_facts.h"

#include <array>

#include "kernels/cuda/check.h"

namespace retain {

namespace {

/// CUDA counts 13.0 as 13000.
std::string version_text(int version) {
  return version > 0 ? concat(version / 1000, ".", version % 1000 / 10) : std::string();
}

}  // namespace

CudaVersions cuda_versions() {
  int driver = 0, runtime = 0;
  if (cudaDriverGetVersion(&driver) != cudaSuccess) driver = 0;
  if (cudaRuntimeGetVersion(&runtime) != cudaSuccess) runtime = 0;
  const size_t cublas = cublasLtGetVersion();  // 13.0.2 is 130002
  return {version_text(driver), version_text(runtime),
          concat(cublas / 10000, ".", cublas / 100 % 100, ".", cublas % 100)};
}

std::string cuda_bus_id(int device) {
  std::array<char, 32> id{};
  CUDA_CHECK(cudaDeviceGetPCIBusId(id.data(), static_cast<int>(id.size()), device), "GPU ", device);
  return id.data();
}

bool cuda_reaches_peer(int device, int peer) {
  int reaches = 0;
  CUDA_CHECK(cudaDeviceCanAccessPeer(&reaches, device, peer), "GPU ", device, " and GPU ", peer);
  return reaches != 0;
}

}  // namespace retain
