#include "launch/watch/chart.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>

namespace retain {

namespace {

constexpr int kEighths = 8;
constexpr std::array<const char*, kEighths + 1> kBlocks = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};

}  // namespace

std::vector<double> bin_means(const std::vector<double>& values, int columns) {
  const int64_t count = std::ssize(values);
  if (columns <= 0) return {};
  if (count <= columns) return values;
  std::vector<double> means;
  double last = std::numeric_limits<double>::quiet_NaN();
  for (int64_t column = 0; column < columns; ++column) {
    double sum = 0, finite = 0;
    for (int64_t i = column * count / columns; i < (column + 1) * count / columns; ++i) {
      const double value = values[static_cast<size_t>(i)];
      if (!std::isfinite(value)) continue;
      sum += value;
      ++finite;
    }
    if (finite > 0) last = sum / finite;
    means.push_back(last);
  }
  return means;
}

std::vector<std::string> draw_columns(const std::vector<double>& values, int rows, bool ascii) {
  double least = std::numeric_limits<double>::infinity(), greatest = -least;
  for (const double value : values) {
    if (!std::isfinite(value)) continue;
    least = std::min(least, value);
    greatest = std::max(greatest, value);
  }
  const int full = rows * kEighths;
  std::vector<std::string> lines(static_cast<size_t>(rows));
  for (const double value : values) {
    int height = 0;
    if (std::isfinite(value)) {
      const double share = greatest > least ? (value - least) / (greatest - least) : 0.5;
      height = 1 + static_cast<int>(std::lround(share * (full - 1)));
    }
    for (int row = 0; row < rows; ++row) {
      const int inside = std::clamp(height - (rows - 1 - row) * kEighths, 0, kEighths);
      lines[static_cast<size_t>(row)] += ascii ? (inside == 0             ? " "
                                                  : inside < kEighths / 2 ? "."
                                                                          : "#")
                                               : kBlocks[static_cast<size_t>(inside)];
    }
  }
  return lines;
}

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

}  // namespace retain
