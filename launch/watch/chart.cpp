#include "launch/watch/chart.h"

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

}  // namespace retain
