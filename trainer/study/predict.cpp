#include "trainer/study/predict.h"

#include <algorithm>
#include <cmath>

#include "kernels/core/random.h"

namespace retain {
namespace {

template <class F>
Predicted predicted(const FittedStudy& fit, const F& of_law) {
  Predicted p{.value = of_law(fit.law), .interval = {}};
  if (fit.resamples.empty()) return p;
  std::vector<double> values;
  for (const Law& law : fit.resamples) values.push_back(of_law(law));
  p.interval = interval_of(std::move(values));
  return p;
}

/// Each resampled loss with a residual of a fitted run, drawn anew; residuals of a fit are smaller than errors by the
/// share of constants.
Predicted with_noise(const FittedStudy& fit, double params, double tokens) {
  Predicted p{.value = fit.law.loss(params, tokens), .interval = {}};
  if (fit.resamples.empty()) return p;
  const auto n = static_cast<double>(fit.residuals.size());
  const double inflation = std::sqrt(n / std::max(n - fit.form->free_constants(), 1.0));
  const uint64_t key = stream_key(fit.seed, "study prediction");
  constexpr uint64_t kDraws = 8;  // of each resample, so that a few of them fill the tails
  std::vector<double> values;
  for (size_t i = 0; i < fit.resamples.size() * kDraws; ++i) {
    const double uniform = static_cast<double>(philox_bits(key, i) >> 11) * 0x1p-53;
    const auto drawn = std::min(static_cast<size_t>(uniform * n), fit.residuals.size() - 1);
    values.push_back(fit.resamples[i / kDraws].loss(params, tokens) * std::exp(inflation * fit.residuals[drawn]));
  }
  p.interval = interval_of(std::move(values));
  return p;
}

}  // namespace

LossPrediction predict_loss(const FittedStudy& fit, double params, double tokens) {
  return {params, tokens, with_noise(fit, params, tokens),
          predicted(fit, [&](const Law& law) { return law.loss(params, tokens); })};
}

BudgetPrediction predict_budget(const FittedStudy& fit, double flops) {
  BudgetPrediction p;
  p.flops = flops;
  p.params = predicted(fit, [&](const Law& law) { return law.optimal_params(flops); });
  p.tokens = predicted(fit, [&](const Law& law) { return law.optimal_tokens(flops); });
  p.tokens_per_param =
      predicted(fit, [&](const Law& law) { return law.optimal_tokens(flops) / law.optimal_params(flops); });
  p.at_optimum = predict_loss(fit, p.params.value, p.tokens.value);
  return p;
}

double extrapolation(const FittedStudy& fit, double flops) {
  double most = 0;
  for (const StudyRun& run : fit.runs) most = std::max(most, run.flops);
  return flops / most;
}

}  // namespace retain
