// The figures of a study for gnuplot: scripts and the data they read, as text. Who draws them is not known here.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "trainer/study/fit_file.h"

namespace retain {

struct Figure {
  std::string name;     ///< NAME.gnuplot writes NAME.svg and NAME.png
  std::string caption;  ///< a sentence
  std::string script;
  std::vector<std::pair<std::string, std::string>> data;  ///< file names and contents
};

/// isoflop (where there are budgets), optimal_params, optimal_tokens, contours, residuals, bootstrap (where there are
/// resamples), compute.
std::vector<Figure> draw_figures(const FittedStudy& fit);

}  // namespace retain
