// What the CUDA libraries say of themselves and of a GPU, for people who look for what is wrong with a machine.
#pragma once

#include <string>

namespace retain {

/// "13.0" and the like; empty in a build without CUDA, the driver's also where there is none.
struct CudaVersions {
  std::string driver, runtime, cublas;  ///< driver: the newest CUDA that it serves
};
CudaVersions cuda_versions();

/// "0000:1B:00.0", where a device of this process sits. Throws Error(kDevice).
std::string cuda_bus_id(int device);
/// Whether one device of this process can read another's memory without the host. Throws Error(kDevice).
bool cuda_reaches_peer(int device, int peer);

}  // namespace retain
