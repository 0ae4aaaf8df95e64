// The disk of the run directory, as checkpoints use it, and that of the data.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "launch/doctor/finding.h"
#include "launch/doctor/optional_json.h"
#include "trainer/checkpoint/disk_plan.h"

namespace retain::checkup {

struct DiskFacts {
  std::string path, file_system;                   ///< "ext4"; a number where the name is not known
  double write_megabytes = 0, read_megabytes = 0;  ///< a second, all ranks at once, fsync included
  double sync_seconds = 0;                         ///< of a file of 4 KiB
  bool allocates = true;                           ///< fallocate
  std::map<std::string, std::string> problems;     ///< what a run does there and could not be done: why
  std::optional<double> data_megabytes;            ///< a second, read of the data
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(DiskFacts, path, file_system, write_megabytes, read_megabytes, sync_seconds,
                                   allocates, problems, data_megabytes)

/// Makes the folder in which the ranks write: rank 0's. Throws Error(kCannotCreate).
std::filesystem::path make_probe_folder(const std::filesystem::path& run_directory);
/// Writes, syncs, reads, renames, links and locks files of this rank there, in a few seconds, and takes them away. A
/// folder that this rank does not see is a problem.
DiskFacts probe_disk(const std::filesystem::path& folder, int rank, int ranks);
/// Reads a few MiB of a token shard, past the page cache.
double probe_data(const std::filesystem::path& tokens);

Findings judge_disk(const ByRank<DiskFacts>& ranks, const Hosts& hosts);
/// Whether the planned checkpoints fit.
Finding judge_room(const DiskPlan& plan, const Retention& retention);

}  // namespace retain::checkup
