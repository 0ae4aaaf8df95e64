#include "launch/host_memory.h"

#include <malloc.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <string>
#include <string_view>

#include "kernels/core/error.h"

namespace retain {

namespace {

namespace fs = std::filesystem;

constexpr std::string_view kThisGroup = "0::";  // begins the line of control groups of version 2

// The number after a word of the file.
std::optional<int64_t> number_after(const fs::path& path, std::string_view key) {
  std::ifstream in(path);
  for (std::string word; in >> word;) {
    int64_t number = 0;
    if (word == key && in >> number) return number;
  }
  return std::nullopt;
}

// The number that the file begins with; the kernel writes "max" where there is no limit.
std::optional<int64_t> number_in(const fs::path& path) {
  std::ifstream in(path);
  int64_t number = 0;
  if (in >> number) return number;
  return std::nullopt;
}

// The least that a group and the groups it is in leave. A container often sees only its own group, as the mount's top.
std::optional<int64_t> left_by_groups(const fs::path& mount, const fs::path& group) {
  std::optional<int64_t> least;
  for (fs::path at = group.relative_path();; at = at.parent_path()) {
    const fs::path folder = mount / at, stat = folder / "memory.stat";
    const std::optional<int64_t> limit = number_in(folder / "memory.max"), usage = number_in(folder / "memory.current");
    if (limit && usage) {
      const int64_t cache =
          number_after(stat, "inactive_file").value_or(0) + number_after(stat, "active_file").value_or(0);
      const int64_t left = std::max<int64_t>(0, *limit - std::max<int64_t>(0, *usage - cache));
      least = least ? std::min(*least, left) : left;
    }
    if (at.empty()) return least;
  }
}

constexpr int64_t kMebibyte = 1 << 20;
// HDF5 1.10 wants 100 KiB of a stack, at twice that all tests pass; the rest is for other releases and sanitizers.
constexpr int64_t kStackBytes = kMebibyte;
// What OpenBLAS takes at once where a thread computes its first product, and what is left for heaps and the rest.
constexpr int64_t kProductBytes = 136 * kMebibyte, kHeapBytes = 96 * kMebibyte;
// Threads that write reports and checkpoints and load data, beside those that compute.
constexpr int64_t kOtherThreads = 8;
constexpr int64_t kUsualStackBytes = 8 * kMebibyte;  // of a thread where there is no limit

/// Nothing where there is no limit.
std::optional<int64_t> limit_of(__rlimit_resource resource) {
  rlimit limit{};
  if (getrlimit(resource, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return std::nullopt;
  return static_cast<int64_t>(std::min<rlim_t>(limit.rlim_cur, std::numeric_limits<int64_t>::max()));
}

// What a strict kernel (vm.overcommit_memory = 2) still promises.
std::optional<int64_t> left_to_promise(const fs::path& root) {
  if (number_in(root / "proc/sys/vm/overcommit_memory") != 2) return std::nullopt;
  const std::optional<int64_t> limit = number_after(root / "proc/meminfo", "CommitLimit:"),
                               promised = number_after(root / "proc/meminfo", "Committed_AS:");
  if (!limit || !promised) return std::nullopt;
  return std::max<int64_t>(0, *limit - *promised) << 10;  // they are in KiB
}

}  // namespace

void check_stack_limit() {
  const std::optional<int64_t> limit = limit_of(RLIMIT_STACK);
  if (!limit || *limit >= kStackBytes) return;
  throw Error(ErrorKind::kOutOfMemory, concat("stacks are limited to ", *limit >> 10, " KiB, and ", kStackBytes >> 10,
                                              " KiB are needed: raise the limit (ulimit -s 8192)"));
}

void check_address_limit(int64_t planned_bytes, int threads) {
  const std::optional<int64_t> limit = limit_of(RLIMIT_AS);
  if (!limit) return;
  mallopt(M_ARENA_MAX, 1);  // each further one of glibc's takes 64 MiB of addresses, one a thread
  const int64_t taken = number_in("/proc/self/statm").value_or(0) * ::sysconf(_SC_PAGESIZE);
  const int64_t stacks = (threads + kOtherThreads) * limit_of(RLIMIT_STACK).value_or(kUsualStackBytes);
  const int64_t libraries = threads * kProductBytes + stacks + kHeapBytes;
  if (taken + planned_bytes + libraries <= *limit) return;
  const auto mebibytes = [](int64_t bytes) { return (bytes + kMebibyte - 1) / kMebibyte; };
  throw Error(
      ErrorKind::kOutOfMemory,
      concat("this process may take ", mebibytes(*limit), " MiB of addresses (ulimit -v), and needs ",
             mebibytes(taken + planned_bytes + libraries), ": ", mebibytes(taken), " it has, ",
             mebibytes(planned_bytes), " are planned, ", mebibytes(libraries), " are for OpenBLAS and ", threads,
             " computing threads; raise the limit (ulimit -v unlimited), or set OMP_NUM_THREADS to fewer"));
}

std::optional<int64_t> available_memory_bytes(const fs::path& root) {
  std::optional<int64_t> available = number_after(root / "proc/meminfo", "MemAvailable:");
  if (available) *available <<= 10;  // it is in KiB
  std::ifstream groups(root / "proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    if (!line.starts_with(kThisGroup)) continue;
    const std::optional<int64_t> left = left_by_groups(root / "sys/fs/cgroup", line.substr(kThisGroup.size()));
    if (left) available = available ? std::min(*available, *left) : left;
  }
  const std::optional<int64_t> left = left_to_promise(root);
  if (left) available = available ? std::min(*available, *left) : left;
  return available;
}

}  // namespace retain
