// Parts of gnuplot scripts.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>

namespace retain {

/// Values on a logarithmic axis.
struct PlotRange {
  double low = 1e300, high = 0;
  void take(double value) { low = std::min(low, value), high = std::max(high, value); }
  PlotRange widened(double factor) const { return {low / factor, high * factor}; }
  /// Number i of n, even in the logarithm.
  double at(int i, int n) const;
};

/// A script that draws `body` (lines indented by two) to NAME.svg and to NAME.png.
std::string plot_script(const std::string& name, int width, int height, const std::string& body);

extern const char* const kCommonStyle;  ///< grid, border, a key that covers nothing

/// Scale, range and tics of the logarithmic axis "x" or "y": powers of ten, or 1, 2, 5 of each within two decades.
std::string log_axis(const std::string& axis, const PlotRange& range);
/// Number i of n colors from dark blue to red, so that an order can be seen.
std::string color_of(size_t i, size_t n);
/// "6·10^{18}" as gnuplot sets it.
std::string power_of_ten(double value);
/// The 1, 2 or 5 times a power of ten next above.
double round_step(double step);

}  // namespace retain
