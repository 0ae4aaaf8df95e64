#include "launch/host_memory.h"

#include <algorithm>
#include <fstream>
#include <string>
#include <string_view>

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

}  // namespace

std::optional<int64_t> available_memory_bytes(const fs::path& root) {
  std::optional<int64_t> available = number_after(root / "proc/meminfo", "MemAvailable:");
  if (available) *available <<= 10;  // it is in KiB
  std::ifstream groups(root / "proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    if (!line.starts_with(kThisGroup)) continue;
    const std::optional<int64_t> left = left_by_groups(root / "sys/fs/cgroup", line.substr(kThisGroup.size()));
    if (left) available = available ? std::min(*available, *left) : left;
  }
  return available;
}

}  // namespace retain
