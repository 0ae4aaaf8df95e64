// Loss and throughput of runs as a figure: data and a gnuplot script. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "trainer/run/history.h"

namespace retain {

enum class FigureAxis : uint8_t { kSteps, kTokens, kHours };

struct FigureOptions {
  FigureAxis x = FigureAxis::kSteps;
  bool log_x = false, log_y = false;
  int64_t smooth_steps = 0;              ///< of an exponential mean; 0: a hundredth of the run
  std::vector<std::string> series = {};  ///< drawn in the upper panel; empty: the losses of training and validation
};

/// A curve of the figure, in the units of its axes.
struct FigureCurve {
  std::string name;
  size_t run = 0;              ///< of those that are drawn
  bool is_throughput = false;  ///< belongs to the lower panel
  bool is_sparse = false;      ///< a validation: drawn with points
  std::vector<double> x = {}, y = {}, smoothed = {};
};

/// Hours count while the run trained, not between its starts. Throws Error(kData) when a series that was asked for is
/// in none of the runs, naming those that are.
std::vector<FigureCurve> curves_of(const std::vector<const RunHistory*>& runs, const FigureOptions& options);

/// Blocks of "x y smoothed" in the order of the curves, each with its name in a comment, two empty lines between them:
/// gnuplot's `index`.
std::string figure_data(const std::vector<FigureCurve>& curves);

/// A gnuplot script that draws them into `out` (.svg or .png) from the file `data`.
std::string figure_script(const std::vector<FigureCurve>& curves, const FigureOptions& options, const std::string& data,
                          const std::string& out);

}  // namespace retain
