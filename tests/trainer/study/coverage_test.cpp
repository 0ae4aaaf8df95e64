// Whether intervals keep what they promise: 100 tables with noise and outliers, each fitted with 400 resamples.
// Seconds, so a test of its own.
#include <gtest/gtest.h>

#include <array>
#include <cstdio>

#include "tests/trainer/study/synthetic.h"
#include "trainer/study/parallel_for.h"
#include "trainer/study/projection.h"
#include "trainer/study/statistics.h"

namespace retain::test {
namespace {

constexpr double kDelta = 1e-3;
constexpr int kTables = 100, kResamples = 400;

struct Held {
  bool alpha = false, beta = false;
};

Held fit_one(const LawForm& form, const Law& law, uint64_t seed) {
  std::vector<double> params, tokens, loss;
  for (const StudyRun& run : make_table({.law = law, .noise = 0.005, .outliers = 0.04, .seed = seed}).runs) {
    params.push_back(run.params);
    tokens.push_back(run.tokens);
    loss.push_back(run.loss);
  }
  const LawPoints points = make_points(params, tokens, loss);
  const SearchedFit fit = fit_by_projection(form, points, std::vector<double>(points.size(), 1.0), kDelta);
  const uint64_t key = stream_key(seed, "coverage");
  std::vector<double> alphas, betas;
  for (int i = 0; i < kResamples; ++i) {
    const LawFit again = refit_by_projection(form, points, resample(points.size(), key, i), kDelta, fit.law);
    alphas.push_back(again.law.alpha);
    betas.push_back(again.law.beta);
  }
  const Interval alpha = interval_of(alphas), beta = interval_of(betas);
  return {alpha.p025 <= law.alpha && law.alpha <= alpha.p975, beta.p025 <= law.beta && law.beta <= beta.p975};
}

void expect_coverage(const char* form, const Law& law) {
  std::array<Held, kTables> held;
  parallel_for(2, kTables, [&](int i) {
    held[static_cast<size_t>(i)] = fit_one(find_form(form), law, static_cast<uint64_t>(i) + 1);
  });
  int alpha = 0, beta = 0;
  for (const Held& each : held) alpha += each.alpha, beta += each.beta;
  std::printf("%s: alpha within its 95 %% in %d of %d, beta in %d\n", form, alpha, kTables, beta);
  EXPECT_GE(alpha, 90);
  EXPECT_GE(beta, 90);
}

TEST(Coverage, ConstantsLieInTheirIntervals) { expect_coverage("chinchilla", usual_law()); }
TEST(Coverage, WithAnOuterExponentToo) { expect_coverage("chinchilla-gamma", bent_law()); }

}  // namespace
}  // namespace retain::test
