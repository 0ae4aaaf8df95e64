#include "trainer/study/projection.h"

#include <gtest/gtest.h>

#include "tests/trainer/study/synthetic.h"
#include "trainer/study/minimize.h"
#include "trainer/study/multistart.h"

namespace retain::test {
namespace {

constexpr double kDelta = 1e-3;

LawPoints points_of(const Synthetic& synthetic) {
  std::vector<double> params, tokens, loss;
  for (const StudyRun& run : make_table(synthetic).runs) {
    params.push_back(run.params);
    tokens.push_back(run.tokens);
    loss.push_back(run.loss);
  }
  return make_points(params, tokens, loss);
}

std::vector<double> ones(const LawPoints& points) { return std::vector<double>(points.size(), 1.0); }

/// The objective as it is written down; the law is centred.
double law_objective(const LawPoints& points, const Law& law) {
  double objective = 0;
  for (size_t i = 0; i < points.size(); ++i) {
    const double loss = law.loss(std::exp(points.ln_params[i]), std::exp(points.ln_tokens[i]));
    objective += huber(std::log(loss) - points.ln_loss[i], kDelta);
  }
  return objective;
}

TEST(Minimize, FindsTheEndOfACurvedValleyAndStopsAtBounds) {
  BoundedProblem rosenbrock;
  rosenbrock.function = [](std::span<const double> x, std::span<double> g) {
    const double a = 1 - x[0], b = x[1] - x[0] * x[0];
    g[0] = -2 * a - 400 * x[0] * b;
    g[1] = 200 * b;
    return a * a + 100 * b * b;
  };
  rosenbrock.low = {-2, -2};
  rosenbrock.high = {2, 2};
  std::vector<double> x = {-1.2, 1};
  EXPECT_NEAR(minimize(rosenbrock, x), 0, 1e-12);
  EXPECT_NEAR(x[0], 1, 1e-5);
  rosenbrock.high = {0.5, 2};
  x = {-1.2, 1};
  EXPECT_NEAR(minimize(rosenbrock, x), 0.25, 1e-9);
  EXPECT_EQ(x[0], 0.5);
}

TEST(Projection, RecoversAnExactLaw) {
  const Law law = usual_law();
  const LawPoints points = points_of({.law = law});
  const SearchedFit fit = fit_by_projection(find_form("chinchilla"), points, ones(points), kDelta);
  const Law found = points.uncentred(fit.law);
  EXPECT_NEAR(found.alpha, law.alpha, 1e-4);
  EXPECT_NEAR(found.beta, law.beta, 1e-4);
  EXPECT_NEAR(found.e, law.e, 1e-3);
  EXPECT_NEAR(found.a / law.a, 1, 1e-2);
  EXPECT_NEAR(found.b / law.b, 1, 1e-2);
  EXPECT_LT(fit.objective, 1e-12);
}

TEST(Projection, RecoversAnExactLawWithAnOuterExponent) {
  const Law law = bent_law();
  const LawPoints points = points_of({.law = law});
  const SearchedFit fit = fit_by_projection(find_form("chinchilla-gamma"), points, ones(points), kDelta);
  EXPECT_NEAR(fit.law.alpha, law.alpha, 1e-4);
  EXPECT_NEAR(fit.law.beta, law.beta, 1e-4);
  EXPECT_NEAR(fit.law.gamma, law.gamma, 1e-4);
  const Law found = points.uncentred(fit.law);
  EXPECT_NEAR(found.e, law.e, 1e-3);
}

TEST(Projection, TheFormOfGadreTiesTheExponents) {
  const Law law = {1.8, 700, 1400, 0.3, 0.3, 1};
  const LawPoints points = points_of({.law = law});
  const SearchedFit fit = fit_by_projection(find_form("gadre"), points, ones(points), kDelta);
  EXPECT_NEAR(fit.law.alpha, 0.3, 1e-4);
  EXPECT_EQ(fit.law.alpha, fit.law.beta);
}

TEST(Projection, TheFormOfKaplanHasNoIrreducibleLoss) {
  const Law law = {0, 1e9, 3e11, 0.8, 1, 0.1};
  const LawPoints points = points_of({.law = law});
  const SearchedFit fit = fit_by_projection(find_form("kaplan"), points, ones(points), kDelta);
  EXPECT_EQ(fit.law.e, 0);
  EXPECT_NEAR(fit.law.alpha, 0.8, 1e-3);
}

TEST(Projection, ItsObjectiveIsTheSumOfHuber) {
  const LawPoints points = points_of({.noise = 0.005, .outliers = 0.05});
  const SearchedFit fit = fit_by_projection(find_form("chinchilla"), points, ones(points), kDelta);
  EXPECT_NEAR(law_objective(points, fit.law) / fit.objective, 1, 1e-12);
  // No neighbour is lower.
  for (const double step : {-1e-4, 1e-4}) {
    for (int constant = 0; constant < 5; ++constant) {
      Law near = fit.law;
      double* const each[] = {&near.e, &near.a, &near.b, &near.alpha, &near.beta};
      *each[constant] += step;
      EXPECT_GE(law_objective(points, near), fit.objective * (1 - 1e-9));
    }
  }
}

TEST(Projection, AWeightOfTwoIsTheSameRunTwice) {
  const LawPoints points = points_of({.noise = 0.005});
  std::vector<double> weights = ones(points);
  weights[7] = 2;
  weights[9] = 0;
  std::vector<double> params, tokens, loss;
  for (size_t i = 0; i < points.size(); ++i) {
    for (int k = 0; k < static_cast<int>(weights[i]); ++k) {
      params.push_back(std::exp(points.ln_params[i] + points.mean_ln_params));
      tokens.push_back(std::exp(points.ln_tokens[i] + points.mean_ln_tokens));
      loss.push_back(std::exp(points.ln_loss[i]));
    }
  }
  const LawPoints written_out = make_points(params, tokens, loss);
  const LawForm& form = find_form("chinchilla");
  const SearchedFit one = fit_by_projection(form, points, weights, kDelta);
  const SearchedFit other = fit_by_projection(form, written_out, ones(written_out), kDelta);
  EXPECT_NEAR(one.objective / other.objective, 1, 1e-9);
  EXPECT_NEAR(one.law.alpha, other.law.alpha, 1e-6);
}

TEST(Projection, ProjectingTheConstantsOutMakesTheProblemWellConditioned) {
  const LawPoints points = points_of({.noise = 0.005});
  const LawForm& form = find_form("chinchilla");
  const Conditions c = conditions(form, points, fit_by_projection(form, points, ones(points), kDelta).law, kDelta);
  EXPECT_GT(c.all, 1e5);
  EXPECT_LT(c.projected, 100);
}

TEST(Multistart, ReachesWhatVariableProjectionReaches) {
  if (!have_ceres()) GTEST_SKIP() << "built without Ceres";
  for (const Law& law : {usual_law(), bent_law()}) {
    const LawPoints points = points_of({.law = law, .noise = 0.005, .outliers = 0.05});
    for (const char* name : {"chinchilla", "chinchilla-gamma", "gadre"}) {
      const LawForm& form = find_form(name);
      const SearchedFit projection = fit_by_projection(form, points, ones(points), kDelta);
      const SearchedFit multistart = *fit_by_multistart(form, points, kDelta, 24, 1, 2);
      EXPECT_NEAR(multistart.objective / projection.objective, 1, 1e-6) << name;
      EXPECT_GE(multistart.starts_at_optimum, 2) << name;
    }
  }
}

TEST(Multistart, IsTheSameOnAnyNumberOfThreads) {
  if (!have_ceres()) GTEST_SKIP() << "built without Ceres";
  const LawPoints points = points_of({.noise = 0.005});
  const LawForm& form = find_form("chinchilla");
  const SearchedFit one = *fit_by_multistart(form, points, kDelta, 8, 1, 1);
  const SearchedFit two = *fit_by_multistart(form, points, kDelta, 8, 1, 2);
  EXPECT_EQ(one.objective, two.objective);
  EXPECT_EQ(one.law.constants(), two.law.constants());
}

TEST(Law, TheBestSizeOfABudgetIsBetterThanItsNeighbours) {
  for (const Law& law : {usual_law(), bent_law()}) {
    const double flops = 1e20, best = law.optimal_params(flops);
    const auto loss = [&](double params) { return law.loss(params, flops / (6 * params)); };
    EXPECT_LT(loss(best), loss(best * 1.01));
    EXPECT_LT(loss(best), loss(best / 1.01));
    EXPECT_NEAR(std::log(law.optimal_params(1e21) / best) / std::log(10), law.params_exponent(), 1e-9);
    EXPECT_NEAR(law.optimal_tokens(flops) * best * 6 / flops, 1, 1e-12);
  }
}

}  // namespace
}  // namespace retain::test
