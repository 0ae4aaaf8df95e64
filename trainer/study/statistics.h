// Small statistics that the study needs in several places.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace retain {

/// What resamples say of a number. `se` is their standard deviation, over the middle 99 % (one resample that fits
/// nothing may lie anywhere).
struct Interval {
  double p025 = 0, p10 = 0, p50 = 0, p90 = 0, p975 = 0, se = 0;
};
Interval interval_of(std::vector<double> values);

/// Quantile q in [0, 1] of sorted values, linear between neighbours.
double quantile(const std::vector<double>& sorted, double q);
double median(std::vector<double> values);
/// The standard deviation of normal residuals, whatever a few of them do: 1.4826 times the median distance from zero.
/// The smallest constants − 1 do not count: so many points a robust fit goes through.
double robust_sigma(std::vector<double> residuals, int constants);

/// How often each of n runs is in resample number `index`: n draws with replacement.
std::vector<double> resample(size_t n, uint64_t key, int index);

}  // namespace retain
