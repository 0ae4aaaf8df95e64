#include "trainer/study/plot_script.h"

#include <fmt/core.h>

#include <cmath>

namespace retain {

const char* const kCommonStyle =
    "  set encoding utf8\n"
    "  set grid lt 1 lw 0.5 lc rgb \"#e0e0e0\"\n"
    "  set border lc rgb \"#555555\"\n"
    "  set tics nomirror\n"
    "  set key outside right top Left reverse samplen 2 spacing 1.3\n";

double PlotRange::at(int i, int n) const { return low * std::pow(high / low, static_cast<double>(i) / (n - 1)); }

std::string plot_script(const std::string& name, int width, int height, const std::string& body) {
  return fmt::format(
      "# gnuplot {0}.gnuplot writes {0}.svg and {0}.png from the data beside it\n"
      "do for [format in \"svg png\"] {{\n"
      "  reset\n"
      "  if (format eq \"svg\") {{ set terminal svg size {1},{2} font \"Helvetica,14\" background \"white\" }}\n"
      "  if (format eq \"png\") {{ set terminal pngcairo size {1},{2} font \"Sans,11\" background \"white\" }}\n"
      "  set output \"{0}.\" . format\n{3}"
      "  unset output\n"
      "}}\n",
      name, width, height, body);
}

std::string log_axis(const std::string& axis, const PlotRange& range) {
  std::string text =
      fmt::format("  set logscale {0}\n  set format {0} \"10^{{%T}}\"\n  set {0}range [{1:.6g}:{2:.6g}]\n", axis,
                  range.low, range.high);
  constexpr double kTwoDecades = 100;
  if (range.high / range.low >= kTwoDecades) return text;
  std::string tics;
  for (double decade = std::pow(10, std::floor(std::log10(range.low))); decade < range.high; decade *= 10)
    for (const int digit : {1, 2, 5})
      tics += fmt::format("{}\"{}\" {:.6g}", tics.empty() ? "" : ", ", power_of_ten(digit * decade), digit * decade);
  return text + fmt::format("  set {}tics ({})\n", axis, tics);
}

std::string color_of(size_t i, size_t n) {
  constexpr int kStops = 5;
  constexpr double kColors[kStops][3] = {{48, 18, 130}, {31, 119, 180}, {44, 160, 90}, {240, 150, 30}, {200, 40, 40}};
  const double place = n < 2 ? 0 : static_cast<double>(i * (kStops - 1)) / static_cast<double>(n - 1);
  const auto below = std::min<size_t>(static_cast<size_t>(place), kStops - 2);
  const double share = place - static_cast<double>(below);
  std::string text = "#";
  for (size_t c = 0; c < 3; ++c)
    text += fmt::format("{:02x}", std::lround(kColors[below][c] + share * (kColors[below + 1][c] - kColors[below][c])));
  return text;
}

std::string power_of_ten(double value) {
  const double exponent = std::floor(std::log10(value) + 1e-9);
  const std::string digits = fmt::format("{:.2g}", value / std::pow(10, exponent));
  return (digits == "1" ? "" : digits + "·") + fmt::format("10^{{{:.0f}}}", exponent);
}

double round_step(double step) {
  const double decade = std::pow(10, std::floor(std::log10(step)));
  for (const int digit : {1, 2, 5})
    if (step <= digit * decade) return digit * decade;
  return 10 * decade;
}

}  // namespace retain
