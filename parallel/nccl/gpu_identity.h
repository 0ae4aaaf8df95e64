// Which GPU a rank uses, told apart across hosts: NCCL hangs or fails obscurely when two ranks share one.
#pragma once

#include <string>
#include <vector>

#include "parallel/communicator.h"

namespace retain {

struct GpuIdentity {
  std::string host;     ///< its name
  std::string machine;  ///< its boot id, which also tells containers of one machine; may be empty
  std::string bus_id;   ///< PCI, "0000:1B:00.0"
};

/// This host, with the given GPU.
GpuIdentity local_gpu(const std::string& bus_id);
/// Every rank's identity, in rank order. Collective over host memory.
std::vector<GpuIdentity> gather_identities(Communicator& host, const GpuIdentity& own);
/// Empty when every rank has a GPU of its own; otherwise who shares which GPU, and what to do about it.
std::string describe_shared_gpu(const std::vector<GpuIdentity>& ranks);

}  // namespace retain
