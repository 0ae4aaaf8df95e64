#include "trainer/study/statistics.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "kernels/core/random.h"

namespace retain {

double quantile(const std::vector<double>& sorted, double q) {
  const double place = q * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(place);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (place - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

Interval interval_of(std::vector<double> values) {
  if (values.empty()) return {};
  std::sort(values.begin(), values.end());
  Interval interval{quantile(values, 0.025), quantile(values, 0.1),   quantile(values, 0.5),
                    quantile(values, 0.9),   quantile(values, 0.975), 0};
  const size_t cut = values.size() / 200;
  double mean = 0, square = 0;  // around the median, so that equal values have no spread
  const auto count = static_cast<double>(values.size() - 2 * cut);
  for (size_t i = cut; i < values.size() - cut; ++i) mean += (values[i] - interval.p50) / count;
  for (size_t i = cut; i < values.size() - cut; ++i) square += std::pow(values[i] - interval.p50 - mean, 2) / count;
  interval.se = std::sqrt(square);
  return interval;
}

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return quantile(values, 0.5);
}

double robust_sigma(std::vector<double> residuals, int constants) {
  for (double& each : residuals) each = std::abs(each);
  std::sort(residuals.begin(), residuals.end());
  const auto passed = std::min(static_cast<size_t>(std::max(constants - 1, 0)), residuals.size());
  residuals.erase(residuals.begin(), residuals.begin() + static_cast<std::ptrdiff_t>(passed));
  return 1.4826 * median(std::move(residuals));
}

std::vector<double> resample(size_t n, uint64_t key, int index) {
  std::vector<double> counts(n, 0);
  for (size_t i = 0; i < n; ++i) {
    const uint64_t bits = philox_bits(key, static_cast<uint64_t>(index) * n + i);
    const auto drawn = static_cast<size_t>(static_cast<double>(bits >> 11) * 0x1p-53 * static_cast<double>(n));
    counts[std::min(drawn, n - 1)] += 1;
  }
  return counts;
}

}  // namespace retain
