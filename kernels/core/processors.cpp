#include "kernels/core/processors.h"

#include <sched.h>

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <fstream>
#include <string>

namespace retain {
namespace {

namespace fs = std::filesystem;

/// cpu.max holds "quota period" in microseconds, or "max period" where there is no limit.
std::optional<double> quota_in(const fs::path& file) {
  std::ifstream in(file);
  double quota = 0, period = 0;
  if (in >> quota >> period && quota > 0 && period > 0) return quota / period;
  return std::nullopt;
}

/// The least of a group and the groups it is in. A container often sees only its own group, as the mount's top.
std::optional<double> tightest_quota(const fs::path& root) {
  std::ifstream groups(root / "proc/self/cgroup");
  std::string line;
  while (std::getline(groups, line) && !line.starts_with("0::")) {
  }
  if (!line.starts_with("0::")) return std::nullopt;
  std::optional<double> least;
  for (fs::path at = fs::path(line.substr(3)).relative_path();; at = at.parent_path()) {
    const std::optional<double> quota = quota_in(root / "sys/fs/cgroup" / at / "cpu.max");
    if (quota) least = std::min(least.value_or(*quota), *quota);
    if (at.empty()) return least;
  }
}

/// OpenMP's setting may be a list, whose first number is that of the outermost loops.
std::optional<int> omp_num_threads() {
  const char* text = std::getenv("OMP_NUM_THREADS");
  const int threads = text ? std::atoi(text) : 0;
  return threads > 0 ? std::optional(threads) : std::nullopt;
}

}  // namespace

ProcessorSet own_processors() {
  ProcessorSet set{};
  if (::sched_getaffinity(0, sizeof(set), reinterpret_cast<cpu_set_t*>(set.data())) != 0) set = {};
  return set;
}

int count(const ProcessorSet& set) {
  int processors = 0;
  for (const uint64_t word : set) processors += std::popcount(word);
  return processors;
}

ProcessorLimits read_processor_limits(const fs::path& root) {
  const int own = std::max(1, count(own_processors()));
  return {.own = own, .host = own, .quota = tightest_quota(root), .omp_num_threads = omp_num_threads()};
}

int threads_of_rank(const ProcessorLimits& limits, int ranks) {
  int threads = std::min(limits.own, limits.host / ranks);
  if (limits.quota) threads = std::min(threads, static_cast<int>(*limits.quota / ranks));
  if (limits.omp_num_threads) threads = std::min(threads, *limits.omp_num_threads);
  return std::max(1, threads);
}

}  // namespace retain
