#include "launch/doctor/limits.h"

#include <fmt/core.h>
#include <sys/resource.h>

#include <algorithm>
#include <functional>

#include "launch/host_memory.h"
#include "trainer/checkpoint/disk_plan.h"

namespace retain::checkup {

namespace {

constexpr const char* kGroup = "limits";
constexpr int64_t kMebibyte = int64_t{1} << 20, kGibibyte = int64_t{1} << 30;

// A rank holds its data sets, its connections to others and a few files open.
constexpr int64_t kFewDescriptors = 1024, kTooFewDescriptors = 64;
// HDF5 ends with a fault on a stack of 64 KiB; threads are started with this limit too.
constexpr int64_t kSmallStack = kMebibyte, kTooSmallStack = 256 << 10;
// OpenBLAS takes 128 MiB a thread at its first product, the libraries of CUDA map tens of GiB.
constexpr int64_t kSmallAddressSpace = 4 * kGibibyte, kSmallAddressSpaceOfGpu = 128 * kGibibyte;
// MPI and NCCL pass messages of a machine's ranks through it: 8 MiB and 64 MiB a rank.
constexpr int64_t kSharedMemory = 8 * kMebibyte, kSharedMemoryOfGpu = 64 * kMebibyte;

std::optional<int64_t> limit_of(decltype(RLIMIT_NOFILE) resource) {
  rlimit limit{};
  if (::getrlimit(resource, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return std::nullopt;
  return static_cast<int64_t>(limit.rlim_cur);
}

double gigabytes(int64_t bytes) { return static_cast<double>(bytes) / 1e9; }

/// Below `few` a warning, below `too_few` a failure.
Findings judge_least(const ByRank<LimitFacts>& ranks, const Hosts& hosts, const char* name,
                     std::optional<int64_t> LimitFacts::*limit, int64_t few, int64_t too_few, double unit,
                     const std::string& unit_name, const std::string& what, const std::string& fix) {
  Check check(kGroup, name);
  ByRank<double> values;
  for (const auto& [rank, facts] : ranks) {
    if (!(facts.*limit)) continue;
    const int64_t value = *(facts.*limit);
    values[rank] = static_cast<double>(value) / unit;
    if (value < few)
      check.amiss(rank, value < too_few ? Verdict::kFail : Verdict::kWarn, what, fix, values[rank], unit_name);
  }
  return check.findings(hosts, values.empty() ? "no limit" : describe_range(values, unit_name));
}

Findings judge_shared_memory(const ByRank<LimitFacts>& ranks, const Hosts& hosts) {
  Check check(kGroup, "/dev/shm");
  ByRank<double> values;
  for (const auto& [host, neighbours] : hosts.machines()) {
    if (neighbours.size() < 2 || !ranks.contains(neighbours.front())) continue;
    const int rank = neighbours.front();
    const LimitFacts& facts = ranks.at(rank);
    const int64_t wanted = (facts.gpu ? kSharedMemoryOfGpu : kSharedMemory) * std::ssize(neighbours);
    const int64_t free = facts.shared_memory_bytes.value_or(0);
    values[rank] = gigabytes(free);
    if (free < wanted)
      check.amiss(
          rank, Verdict::kWarn,
          fmt::format("less than the {} MiB that its {} ranks may take", wanted / kMebibyte, neighbours.size()),
          "docker run --shm-size=8g or --ipc=host; mount -o remount,size=8G /dev/shm; files that killed jobs left "
          "there may be removed",
          static_cast<double>(free) / 1e6, "MB free");
  }
  return check.findings(hosts, values.empty() ? "not needed: one rank a machine" : describe_range(values, "GB free"));
}

Findings judge_memory(const ByRank<LimitFacts>& ranks, const Hosts& hosts) {
  Check check(kGroup, "memory");
  ByRank<double> available;
  for (const auto& [host, neighbours] : hosts.machines()) {
    if (!ranks.contains(neighbours.front()) || !ranks.at(neighbours.front()).available_bytes) continue;
    const int rank = neighbours.front();
    const int64_t there = *ranks.at(rank).available_bytes;
    double needed = 0;
    for (const int each : neighbours)
      if (ranks.contains(each)) needed += static_cast<double>(ranks.at(each).needed_bytes);
    available[rank] = gigabytes(there);
    if (needed > static_cast<double>(there))
      check.amiss(rank, Verdict::kFail,
                  fmt::format("less than the {:.3g} GB that its {} ranks will take", needed / 1e9, neighbours.size()),
                  "more machines with fewer ranks each, a higher memory limit of the job, or a smaller model",
                  gigabytes(there), "GB available");
    else if (needed > 0.9 * static_cast<double>(there))
      check.amiss(
          rank, Verdict::kWarn,
          fmt::format("hardly more than the {:.3g} GB that its {} ranks will take", needed / 1e9, neighbours.size()),
          "end other work there, or raise the memory limit of the job", gigabytes(there), "GB available");
  }
  return check.findings(hosts, describe_range(available, "GB available a machine"));
}

}  // namespace

LimitFacts probe_limits() {
  LimitFacts facts;
  facts.descriptors = limit_of(RLIMIT_NOFILE);
  facts.stack_bytes = limit_of(RLIMIT_STACK);
  facts.address_bytes = limit_of(RLIMIT_AS);
  facts.locked_bytes = limit_of(RLIMIT_MEMLOCK);
  facts.file_bytes = limit_of(RLIMIT_FSIZE);
  facts.shared_memory_bytes = free_disk_bytes("/dev/shm");
  facts.available_bytes = available_memory_bytes();
  return facts;
}

Findings judge_limits(const ByRank<LimitFacts>& ranks, const Hosts& hosts) {
  const bool gpu = !ranks.empty() && ranks.begin()->second.gpu;
  Findings findings = judge_least(ranks, hosts, "descriptors", &LimitFacts::descriptors, kFewDescriptors,
                                  kTooFewDescriptors, 1, "open files", "few files may be open at once",
                                  "ulimit -n 65536; in Slurm PropagateResourceLimits, in systemd LimitNOFILE");
  append(findings, judge_least(ranks, hosts, "stack", &LimitFacts::stack_bytes, kSmallStack, kTooSmallStack, 1024,
                               "KiB", "small", "ulimit -s 8192"));
  append(findings, judge_least(ranks, hosts, "address space", &LimitFacts::address_bytes,
                               gpu ? kSmallAddressSpaceOfGpu : kSmallAddressSpace, kGibibyte, 1e9, "GB",
                               "libraries map more than they use, and some wait for ever where they cannot",
                               "ulimit -v unlimited; limit memory by control groups instead"));
  if (gpu)
    append(findings, judge_least(ranks, hosts, "locked memory", &LimitFacts::locked_bytes, kGibibyte, 0, 1e6, "MB",
                                 "too little for a network that reads memory itself (InfiniBand)",
                                 "ulimit -l unlimited; in Slurm PropagateResourceLimitsExcept=MEMLOCK"));
  Check files(kGroup, "file size");
  for (const auto& [rank, facts] : ranks)
    if (facts.file_bytes && *facts.file_bytes < facts.largest_file_bytes)
      files.amiss(rank, Verdict::kFail, "below what a rank writes of a checkpoint", "ulimit -f unlimited",
                  gigabytes(*facts.file_bytes), "GB");
  append(findings, files.findings(hosts, "no file of the run is too large"));
  append(findings, judge_shared_memory(ranks, hosts));
  append(findings, judge_memory(ranks, hosts));
  return findings;
}

}  // namespace retain::checkup
