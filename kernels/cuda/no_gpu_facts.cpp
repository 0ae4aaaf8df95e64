// Linked instead of gpu_facts.cpp when the build has no CUDA.
#include "kernels/core/error.h"
#include "kernels/gpu_facts.h"

namespace retain {

CudaVersions cuda_versions() { return {}; }

std::string cuda_bus_id(int) { throw Error(ErrorKind::kDevice, "this build of retain has no CUDA"); }

bool cuda_reaches_peer(int, int) { return false; }

}  // namespace retain
