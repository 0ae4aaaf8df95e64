// Linked instead of nccl_communicator.cpp when the build has no CUDA.
#include "parallel/nccl/nccl_communicator.h"

namespace retain {

std::string nccl_version() { return ""; }

std::unique_ptr<Communicator> make_nccl_communicator(Communicator& host, int, void*, const NcclOptions&) {
  if (host.size() == 1) return make_self_communicator();
  throw Error(ErrorKind::kDevice,
              "this build of retain has no NCCL; configure with -DRETAIN_CUDA=ON where nvcc and NCCL are installed");
}

MakeTensorGroup make_nccl_groups(Communicator&, int device, void* compute_stream, const NcclOptions& options) {
  return [=](std::unique_ptr<Communicator> group) {
    return make_nccl_communicator(*group, device, compute_stream, options);
  };
}

}  // namespace retain
