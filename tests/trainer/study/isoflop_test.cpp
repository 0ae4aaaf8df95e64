#include "trainer/study/isoflop.h"

#include <gtest/gtest.h>

#include "tests/trainer/study/synthetic.h"
#include "trainer/study/fit.h"

namespace retain::test {
namespace {

std::vector<double> ones(const RunPoints& points) { return std::vector<double>(points.size(), 1.0); }

TEST(Isoflop, BudgetsAreRunsOfAboutTheSameCompute) {
  Synthetic synthetic;
  const RunPoints points = run_points(make_table(synthetic).runs);
  const std::vector<Budget> budgets = find_budgets(points.ln_flops, points.ln_params);
  ASSERT_EQ(budgets.size(), synthetic.budgets.size());
  for (size_t i = 0; i < budgets.size(); ++i) {
    EXPECT_EQ(budgets[i].runs.size(), synthetic.factors.size());
    EXPECT_NEAR(budgets[i].ln_flops, std::log(synthetic.budgets[i]), 1e-9);
  }
  // Two sizes, or three that are nearly one, are no curve, and a ladder whose neighbours overlap is no budget.
  EXPECT_EQ(find_budgets(std::vector<double>{1, 1, 1}, std::vector<double>{1, 2, 3}).size(), 1U);
  EXPECT_TRUE(find_budgets(std::vector<double>{1, 1, 1}, std::vector<double>{1, 2, 2}).empty());
  EXPECT_TRUE(find_budgets(std::vector<double>{1, 1, 1}, std::vector<double>{1, 1.3, 1.6}).empty());
  std::vector<double> ladder, sizes;
  for (int i = 0; i < 30; ++i) ladder.push_back(0.1 * i), sizes.push_back(i);
  EXPECT_TRUE(find_budgets(ladder, sizes).empty());
}

TEST(Isoflop, AParabolaIsFoundExactly) {
  RunPoints points;
  for (const double t : {1.0, 2.0, 3.0, 4.5}) {
    points.ln_params.push_back(t);
    points.ln_flops.push_back(10);
    points.ln_tokens.push_back(10 - t - std::log(6.0));
    points.loss.push_back(2 + 0.1 * (t - 2.7) * (t - 2.7));
  }
  const Budget budget{10, {0, 1, 2, 3}};
  const Parabola p = *fit_parabola(points, budget, ones(points));
  EXPECT_TRUE(p.inside());
  EXPECT_NEAR(p.minimum.ln_params, 2.7, 1e-9);
  EXPECT_NEAR(p.minimum.ln_tokens, 10 - 2.7 - std::log(6.0), 1e-9);
  EXPECT_NEAR(p.minimum.loss, 2, 1e-9);
  EXPECT_FALSE(fit_parabola(points, budget, std::vector<double>{1, 1, 0, 0}));
}

// 2603.22339: on a grid that is even around the minimum, alpha = beta gives no bias in the exponent; else it is there
// without any noise.
TEST(Isoflop, ItsBiasIsSeenOnALawsOwnSurface) {
  Synthetic even;
  even.law = {1.7, 400, 400, 0.35, 0.35, 1};
  const RunPoints symmetric = run_points(make_table(even).runs);
  const auto budgets = find_budgets(symmetric.ln_flops, symmetric.ln_params);
  EXPECT_NEAR(isoflop_frontier(symmetric, budgets, ones(symmetric))->params.slope, 0.5, 1e-6);

  Synthetic skewed;
  skewed.law = usual_law();
  skewed.law.e = 0.5;
  RunsTable table;
  for (const double budget : skewed.budgets)  // centred on one size, not on the minimum
    for (const double params : {2e7, 6e7, 2e8, 6e8, 2e9, 6e9})
      table.runs.push_back(make_run("", params, budget / (6 * params), skewed.law.loss(params, budget / (6 * params))));
  const RunPoints off = run_points(table.runs);
  const auto off_budgets = find_budgets(off.ln_flops, off.ln_params);
  const double found = isoflop_frontier(off, off_budgets, ones(off))->params.slope;
  EXPECT_GT(std::abs(found - skewed.law.params_exponent()), 0.01);
}

TEST(Envelope, HoldsTheRunsThatNoneBeats) {
  RunPoints points;
  points.ln_flops = {1, 1, 2, 3, 4};
  points.ln_params = {1, 2, 3, 4, 5};
  points.ln_tokens = {1, 1, 1, 1, 1};
  points.loss = {3, 2.9, 2.95, 2.5, 2.4};
  EXPECT_EQ(envelope(points, ones(points)), (std::vector<size_t>{1, 3, 4}));
  EXPECT_EQ(envelope(points, std::vector<double>{1, 0, 1, 1, 1}), (std::vector<size_t>{0, 2, 3, 4}));
}

}  // namespace
}  // namespace retain::test
