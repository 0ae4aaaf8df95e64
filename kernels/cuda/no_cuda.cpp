// Linked instead of the CUDA backend when the build has no CUDA.
#include "kernels/backend.h"

namespace retain {

int cuda_device_count() { return 0; }

std::unique_ptr<Backend> make_cuda_backend(int) {
  throw Error(ErrorKind::kDevice,
              "this build of retain has no CUDA; configure with -DRETAIN_CUDA=ON where nvcc and NCCL are installed");
}

}  // namespace retain
