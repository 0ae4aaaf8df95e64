// Where the ranks run: which processors they may use, and whether those are near their GPU.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "launch/doctor/finding.h"
#include "launch/doctor/optional_json.h"

namespace retain::checkup {

struct BindingFacts {
  std::vector<int> processors;               ///< that this rank may run on
  int machine_processors = 0;                ///< of the machine
  int threads = 1;                           ///< that the rank will keep busy
  std::vector<std::vector<int>> numa_nodes;  ///< the processors of each NUMA node, by its number
  std::vector<int> gpu_processors;           ///< near the rank's GPU; empty: not known, or there is none
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(BindingFacts, processors, machine_processors, threads, numa_nodes, gpu_processors)

/// bus_id: of the rank's GPU, or empty. Files are under `root`.
BindingFacts probe_binding(int threads, const std::string& bus_id, const std::filesystem::path& root = "/");
Findings judge_binding(const ByRank<BindingFacts>& ranks, const Hosts& hosts);

/// "0-2,6" as the kernel writes lists of processors; nothing of a text of another form.
std::vector<int> read_processor_list(const std::string& text);

}  // namespace retain::checkup
