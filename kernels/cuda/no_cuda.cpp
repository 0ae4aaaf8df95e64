// Linked instead of the CUDA backend when the build has no CUDA.
#include "kernels/backend.h"

namespace retain {

namespace {

[[noreturn]] void refuse() {
  throw Error(ErrorKind::kDevice,
              "this build of retain has no CUDA; configure with -DRETAIN_CUDA=ON where nvcc and NCCL are installed");
}

}  // namespace

int cuda_device_count() { return 0; }

GpuMemory cuda_memory(int) { refuse(); }

std::string cuda_device_name(int) { refuse(); }

std::unique_ptr<Backend> make_cuda_backend(int, Activity*) { refuse(); }

}  // namespace retain
