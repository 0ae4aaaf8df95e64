#include "launch/doctor/versions.h"

#include <fmt/core.h>

#include <filesystem>
#include <set>

#include "kernels/backend.h"
#include "kernels/gpu_facts.h"
#include "kernels/nvml.h"
#include "launch/version.h"
#include "parallel/mpi/mpi_facts.h"
#include "parallel/nccl/nccl_communicator.h"
#include "trainer/checkpoint/checksum.h"
#include "trainer/checkpoint/hdf5.h"
#include "trainer/file.h"

namespace retain::checkup {

namespace {

constexpr int64_t kLargestProgram = int64_t{1} << 30;  // bytes
constexpr const char* kProgram = "retain";

/// Its version, and a hash of the program itself: two builds of one version differ in it.
std::string own_build() {
  const std::string path = std::filesystem::read_symlink("/proc/self/exe").string();
  const std::string text = read_text(File::open_input("/proc/self/exe"), kLargestProgram);
  return fmt::format("{} {}, {}", version(),
                     to_hex(checksum(text.data(), static_cast<int64_t>(text.size()))).substr(0, 8), compiler());
}

/// What is said to whoever has another one of these than the others.
std::string fix_of(const std::string& name) {
  if (name == kProgram) return "start one program on all machines: a shared path, or the same build copied to each";
  if (name == "GPU driver" || name == "CUDA driver")
    return "bring the machines to one driver, or leave the odd one out";
  return fmt::format("load the same {} on all machines (modules, container, LD_LIBRARY_PATH)", name);
}

}  // namespace

VersionFacts probe_versions() {
  const CudaVersions cuda = cuda_versions();
  VersionFacts facts;
  facts.versions = {{kProgram, own_build()},  {"MPI", mpi_library()},       {"HDF5", hdf5_version()},
                    {"NCCL", nccl_version()}, {"CUDA driver", cuda.driver}, {"CUDA runtime", cuda.runtime},
                    {"cuBLAS", cuda.cublas}};
  if (cuda_device_count() > 0) facts.versions["GPU driver"] = Nvml::open().driver_version();
  std::erase_if(facts.versions, [](const auto& version) { return version.second.empty(); });
  return facts;
}

Findings judge_versions(const ByRank<VersionFacts>& ranks, const Hosts& hosts) {
  std::set<std::string> names;
  for (const auto& [rank, facts] : ranks) {
    for (const auto& [name, version] : facts.versions) names.insert(name);
  }
  Findings findings;
  for (const std::string& name : names) {
    ByRank<std::string> values;
    for (const auto& [rank, facts] : ranks) {
      const auto version = facts.versions.find(name);
      values[rank] = version == facts.versions.end() ? "none" : version->second;
    }
    const bool equal = odd_ranks(values).empty();
    // These talk to each other; the others work beside each other, with other rounding or other files at worst.
    const bool talks = name == kProgram || name == "MPI" || name == "NCCL";
    findings.push_back({equal   ? Verdict::kPass
                        : talks ? Verdict::kFail
                                : Verdict::kWarn,
                        "versions", name, describe_values(values, hosts), equal ? "" : fix_of(name)});
  }
  return findings;
}

}  // namespace retain::checkup
