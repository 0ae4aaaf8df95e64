#include "launch/host_memory.h"

#include <algorithm>
#include <fstream>
#include <string>
#include <string_view>

namespace retain {

namespace {

namespace fs = std::filesystem;

// The number after a word of the file.
std::optional<int64_t> number_after(const fs::path& path, std::string_view key) {
  std::ifstream in(path);
  for (std::string word; in >> word;) {
    int64_t number = 0;
    if (word == key && in >> number) return number;
  }
  return std::nullopt;
}

// The number that the file begins with; cgroup v2 writes "max" where there is no limit.
std::optional<int64_t> number_in(const fs::path& path) {
  std::ifstream in(path);
  int64_t number = 0;
  if (in >> number) return number;
  return std::nullopt;
}

// The names of the same files in the two versions of control groups.
struct Names {
  const char *limit, *usage, *inactive_cache, *active_cache;
};
constexpr Names kVersion1{"memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file", "total_active_file"};
constexpr Names kVersion2{"memory.max", "memory.current", "inactive_file", "active_file"};

// The least that a group and the groups it is in leave. A container often sees only its own group, as the mount's top.
std::optional<int64_t> left_by_groups(const fs::path& mount, const fs::path& group, const Names& names) {
  std::optional<int64_t> least;
  for (fs::path at = group.relative_path();; at = at.parent_path()) {
    const fs::path folder = mount / at;
    const std::optional<int64_t> limit = number_in(folder / names.limit), usage = number_in(folder / names.usage);
    if (limit && usage) {
      const fs::path stat = folder / "memory.stat";
      const int64_t cache =
          number_after(stat, names.inactive_cache).value_or(0) + number_after(stat, names.active_cache).value_or(0);
      const int64_t left = std::max<int64_t>(0, *limit - std::max<int64_t>(0, *usage - cache));
      least = least ? std::min(*least, left) : left;
    }
    if (at.empty()) return least;
  }
}

// "number:controllers:path" with no controllers for version 2, or with memory among those of a version 1 hierarchy.
std::optional<int64_t> left_by_line(const fs::path& root, const std::string& line) {
  const size_t first = line.find(':'), second = line.find(':', first + 1);
  if (first == std::string::npos || second == std::string::npos) return std::nullopt;
  const std::string controllers = line.substr(first + 1, second - first - 1), group = line.substr(second + 1);
  const fs::path mount = root / "sys/fs/cgroup";
  if (controllers.empty()) return left_by_groups(mount, group, kVersion2);
  if (controllers == "memory") return left_by_groups(mount / "memory", group, kVersion1);
  return std::nullopt;
}

}  // namespace

std::optional<int64_t> available_memory_bytes(const fs::path& root) {
  std::optional<int64_t> available = number_after(root / "proc/meminfo", "MemAvailable:");
  if (available) *available <<= 10;  // it is in KiB
  std::ifstream groups(root / "proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    const std::optional<int64_t> left = left_by_line(root, line);
    if (left) available = available ? std::min(*available, *left) : left;
  }
  return available;
}

}  // namespace retain
