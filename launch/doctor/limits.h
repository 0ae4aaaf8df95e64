// What the system allows a rank: descriptors, memory, stack, shared memory.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

#include "launch/doctor/finding.h"
#include "launch/doctor/optional_json.h"

namespace retain::checkup {

/// Absent: no limit, or not known.
struct LimitFacts {
  std::optional<int64_t> descriptors, stack_bytes, address_bytes, locked_bytes, file_bytes;
  std::optional<int64_t> shared_memory_bytes;  ///< free in /dev/shm
  std::optional<int64_t> available_bytes;      ///< of the machine's memory, to all its ranks
  int64_t needed_bytes = 0;                    ///< that the rank of the plan takes of it; 0: no plan
  int64_t largest_file_bytes = 0;              ///< that the rank of the plan writes
  bool gpu = false;                            ///< the rank computes on one
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(LimitFacts, descriptors, stack_bytes, address_bytes, locked_bytes, file_bytes,
                                   shared_memory_bytes, available_bytes, needed_bytes, largest_file_bytes, gpu)

LimitFacts probe_limits();
Findings judge_limits(const ByRank<LimitFacts>& ranks, const Hosts& hosts);

}  // namespace retain::checkup
