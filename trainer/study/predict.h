// What a fitted law says of runs that were not made.
#pragma once

#include <optional>
#include <vector>

#include "trainer/study/fit_file.h"

namespace retain {

/// A number and what the resamples leave open.
struct Predicted {
  double value = 0;
  std::optional<Interval> interval;  ///< nothing where the fit has no resamples
};

struct LossPrediction {
  double params = 0, tokens = 0;
  Predicted loss;  ///< of one run: the intervals hold the law's uncertainty and the residuals' spread
  Predicted mean;  ///< of many runs: the law's uncertainty alone
};
LossPrediction predict_loss(const FittedStudy& fit, double params, double tokens);

/// Compute-optimal training at C = 6·N·D.
struct BudgetPrediction {
  double flops = 0;
  Predicted params, tokens, tokens_per_param;
  LossPrediction at_optimum;
};
BudgetPrediction predict_budget(const FittedStudy& fit, double flops);

/// C over the largest of the fitted runs.
double extrapolation(const FittedStudy& fit, double flops);

}  // namespace retain
