#include "trainer/run/short_text.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>

namespace retain {

std::string short_number(double value) {
  if (!std::isfinite(value)) return fmt::format("{}", value);
  constexpr std::array<const char*, 6> kPrefixes = {"", " k", " M", " G", " T", " P"};
  size_t prefix = 0;
  double shown = value;
  for (; std::abs(shown) >= 999.5 && prefix + 1 < kPrefixes.size(); ++prefix) shown /= 1000;
  if (prefix == 0 && shown == std::round(shown)) return fmt::format("{:.0f}", shown);
  const int decimals = std::abs(shown) >= 99.95 ? 0 : std::abs(shown) >= 9.995 ? 1 : 2;
  return fmt::format("{:.{}f}{}", shown, decimals, kPrefixes[prefix]);
}

std::string short_bytes(double bytes) {
  constexpr std::array<const char*, 5> kUnits = {"B", "KiB", "MiB", "GiB", "TiB"};
  size_t unit = 0;
  double shown = bytes;
  for (; shown >= 1000 && unit + 1 < kUnits.size(); ++unit) shown /= 1024;
  return unit == 0 ? fmt::format("{:.0f} B", shown) : fmt::format("{:.1f} {}", shown, kUnits[unit]);
}

std::string short_duration(double seconds) {
  const int64_t all = std::llround(std::max(seconds, 0.0)), hours = all / 3600, minutes = all / 60 % 60;
  if (hours >= 48) return fmt::format("{} d {} h", hours / 24, hours % 24);
  if (hours > 0) return fmt::format("{} h {} min", hours, minutes);
  if (minutes > 0) return fmt::format("{} min {} s", minutes, all % 60);
  return fmt::format("{} s", all);
}

std::string compact_duration(double seconds) {
  const int64_t all = std::llround(std::max(seconds, 0.0)), hours = all / 3600, minutes = all / 60 % 60;
  if (hours >= 48) return fmt::format("{}d{:02}h", hours / 24, hours % 24);
  if (hours > 0) return fmt::format("{}h{:02}m", hours, minutes);
  if (minutes > 0) return fmt::format("{}m{:02}s", minutes, all % 60);
  return fmt::format("{}s", all);
}

}  // namespace retain
