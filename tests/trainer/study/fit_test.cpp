#include "trainer/study/fit.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "kernels/core/error.h"
#include "tests/trainer/study/synthetic.h"
#include "trainer/file.h"
#include "trainer/study/fit_file.h"
#include "trainer/study/multistart.h"
#include "trainer/study/predict.h"
#include "trainer/study/report.h"

namespace retain::test {
namespace {

using ::testing::HasSubstr;
using ::testing::IsSupersetOf;
using ::testing::Not;

FitSettings quick() {
  FitSettings settings;
  settings.starts = 8;
  settings.resamples = 100;
  settings.threads = 2;
  return settings;
}

std::vector<std::string> names(const StudyFit& study) {
  std::vector<std::string> names;
  for (const StudyWarning& warning : study.warnings) names.push_back(warning.name);
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  return names;
}

std::string message(const StudyFit& study, const std::string& name) {
  for (const StudyWarning& warning : study.warnings)
    if (warning.name == name) return warning.message;
  ADD_FAILURE() << "no warning " << name;
  return "";
}

bool warns(const StudyFit& study, const std::string& name) {
  const std::vector<std::string> all = names(study);
  return std::find(all.begin(), all.end(), name) != all.end();
}

StudyFit fit(RunsTable table, const FitSettings& settings = quick()) {
  return fit_study(std::move(table), "", settings);
}

/// The warnings that a build without Ceres adds to every fit.
void forget_missing_solver(StudyFit& study) {
  std::erase_if(study.warnings, [](const StudyWarning& w) { return w.name == "one-solver"; });
}

Synthetic noisy() {
  Synthetic s;
  s.noise = 0.003;
  return s;
}

// ---- the fit ----

TEST(StudyFit, AGoodTableHasIntervalsAroundItsConstantsAndFewWarnings) {
  StudyFit study = fit(make_table(noisy()));
  EXPECT_STREQ(study.best().form->name, "chinchilla");
  ASSERT_EQ(study.intervals.size(), 6U);
  const auto constants = study.best().law.constants();
  for (size_t i = 0; i < 5; ++i) {
    EXPECT_LT(study.intervals[i].p025, constants[i]) << i;
    EXPECT_GT(study.intervals[i].p975, constants[i]) << i;
  }
  EXPECT_NEAR(study.parametric.a, usual_law().params_exponent(), 0.05);
  ASSERT_TRUE(study.isoflop && study.envelope && study.isoflop->a_interval);
  EXPECT_NEAR(study.isoflop->a, usual_law().params_exponent(), 0.05);
  EXPECT_EQ(study.budgets.size(), 6U);
  EXPECT_NEAR(study.residual_sigma, 0.003, 0.001);
  EXPECT_THAT(study.holdout, HasSubstr("C >= "));
  forget_missing_solver(study);
  for (const StudyWarning& warning : study.warnings) EXPECT_EQ(warning.name, "leave-one-out") << warning.message;
}

TEST(StudyFit, TheOuterExponentIsChosenWhereItPredictsBetter) {
  Synthetic bent = noisy();
  bent.noise = 0.0005;
  bent.law = bent_law();
  bent.factors = {0.03, 0.08, 0.2, 0.5, 1, 2, 5, 12, 30};
  const StudyFit study = fit(make_table(bent));
  EXPECT_STREQ(study.best().form->name, "chinchilla-gamma");
  EXPECT_NEAR(study.best().law.gamma, 0.5, 0.1);
  FitSettings plain = quick();
  plain.form = "chinchilla";
  EXPECT_STREQ(fit(make_table(bent), plain).best().form->name, "chinchilla");
}

TEST(StudyFit, IsTheSameTextOnOneAndTwoThreads) {
  FitSettings one = quick(), two = quick();
  one.threads = 1;
  const auto text = [](const FitSettings& settings) {
    return write_fit(fit(make_table(noisy()), settings), {}, {"1", "2"});
  };
  const std::string first = text(one);
  EXPECT_EQ(first, text(two));
  two.seed = 2;
  EXPECT_NE(first, text(two));
}

TEST(StudyFit, ExponentsAreToldUnderEachWayOfCounting) {
  RunsTable table = make_table(noisy());
  for (StudyRun& run : table.runs) {
    run.counted[1] = run.params - 300 * std::pow(run.params, 0.5);
    run.counted[2] = *run.counted[1] * 0.9;
  }
  const StudyFit study = fit(std::move(table));
  ASSERT_EQ(study.countings.size(), 3U);
  EXPECT_EQ(study.countings[0].parametric.a, study.parametric.a);
  EXPECT_GT(std::abs(study.countings[1].parametric.a - study.parametric.a), 1e-3);
  // A constant factor changes no exponent.
  EXPECT_NEAR(study.countings[1].parametric.a, study.countings[2].parametric.a, 1e-3);
}

TEST(StudyFit, NoiseBetweenSeedsIsMeasured) {
  RunsTable table = make_table(noisy());
  for (size_t i = 0; i < 3; ++i) {
    StudyRun run = table.runs[4];
    run.id = "again" + std::to_string(i);
    run.seed = std::to_string(i + 2);
    run.loss *= 1 + 0.004 * (static_cast<double>(i) - 1);
    table.runs.push_back(run);
  }
  table.runs[4].seed = "1";
  const StudyFit study = fit(std::move(table));
  ASSERT_TRUE(study.seed_sigma);
  EXPECT_NEAR(*study.seed_sigma, 0.0033, 0.001);
  EXPECT_FALSE(warns(study, "duplicate-cells"));
}

TEST(StudyFit, TablesThatTellNothingAreRefused) {
  const auto complaint = [](RunsTable table) {
    try {
      fit(std::move(table));
    } catch (const Error& error) {
      EXPECT_EQ(error.exit_code(), 65);
      return std::string(error.what());
    }
    ADD_FAILURE() << "accepted";
    return std::string();
  };
  Synthetic few = noisy();
  few.budgets = {1e19};
  few.factors = {0.5, 1, 2};
  EXPECT_THAT(complaint(make_table(few)), HasSubstr("synthetic.csv: 3 runs with a loss"));
  RunsTable one_size = make_table(noisy());
  for (StudyRun& run : one_size.runs) run.params = *(run.counted[0] = 1e9);
  EXPECT_THAT(complaint(one_size), HasSubstr("1 sizes of model"));
  RunsTable one_length = make_table(noisy());
  for (StudyRun& run : one_length.runs) run.tokens = 1e9;
  EXPECT_THAT(complaint(one_length), HasSubstr("1 numbers of tokens"));
}

// ---- warnings, each with what causes it ----

TEST(StudyWarnings, OutliersAndRunsThatAreNotThere) {
  RunsTable table = make_table(noisy());
  table.runs[10].loss *= 1.1;
  table.excluded = {{"lost", ExcludedRow::Why::kDiverged, "diverged"}, {"empty", ExcludedRow::Why::kNoLoss, "no loss"}};
  const StudyFit study = fit(std::move(table));
  EXPECT_THAT(message(study, "outliers"), HasSubstr("run10 by +"));
  EXPECT_THAT(message(study, "diverged-runs"), HasSubstr("1 of 55 runs diverged and are not fitted (lost)"));
  EXPECT_THAT(message(study, "unusable-rows"), HasSubstr("empty"));
}

TEST(StudyWarnings, DuplicatesAndMixedSchedules) {
  RunsTable table = make_table(noisy());
  for (StudyRun& run : table.runs) run.schedule = "wsd";
  table.runs[3].schedule = "cosine";
  table.runs.push_back(table.runs[5]);
  table.runs.back().id = "copy";
  const StudyFit study = fit(std::move(table));
  EXPECT_THAT(message(study, "duplicate-cells"), HasSubstr("run5, copy"));
  EXPECT_THAT(message(study, "mixed-schedules"), HasSubstr("1 runs of cosine, 54 runs of wsd"));
}

TEST(StudyWarnings, NarrowRanges) {
  Synthetic narrow = noisy();
  narrow.budgets = {1e19, 1.6e19, 2.56e19};
  narrow.factors = {0.65, 0.85, 1, 1.2, 1.45};
  EXPECT_THAT(names(fit(make_table(narrow))),
              IsSupersetOf({"narrow-params", "narrow-compute", "narrow-ratio", "narrow-budget"}));
  narrow.budgets = {1e19, 1.6e19};
  narrow.factors = {0.4, 0.7, 1, 1.4, 2};
  EXPECT_TRUE(warns(fit(make_table(narrow)), "few-runs"));
}

TEST(StudyWarnings, MinimaThatAreNotInside) {
  Synthetic edge = noisy();
  edge.noise = 0;
  edge.factors = {0.02, 0.03, 0.05, 0.08, 0.12};
  const StudyFit below = fit(make_table(edge));
  EXPECT_THAT(message(below, "minimum-at-edge"), HasSubstr("add sizes there"));
  EXPECT_FALSE(below.isoflop);
  RunsTable bent = make_table(noisy());
  for (StudyRun& run : bent.runs)  // losses of the first budget turned over
    if (run.flops < 2e18) run.loss = 7 - run.loss;
  EXPECT_THAT(message(fit(std::move(bent)), "no-minimum"), HasSubstr("1e+18"));
}

TEST(StudyWarnings, ExponentsThatAreNone) {
  RunsTable growing = make_table(noisy());
  for (StudyRun& run : growing.runs)
    run.loss = 1 + 0.3 * std::pow(run.params / 1e9, 0.3) + 40 * std::pow(run.tokens, -0.2);
  EXPECT_TRUE(warns(fit(std::move(growing)), "negative-exponent"));
  RunsTable without_size = make_table(noisy());
  for (StudyRun& run : without_size.runs) run.loss = 1.5 + 40 * std::pow(run.tokens, -0.2);
  EXPECT_THAT(message(fit(std::move(without_size)), "no-effect"), HasSubstr("N changes the loss by"));
  RunsTable step;  // the smallest model is worse, and all others are alike
  for (const double params : {1e7, 1e8, 1e9, 1e10})
    for (const double tokens : {1e9, 1e10, 1e11})
      step.runs.push_back(make_run("", params, tokens, 1.5 + 40 * std::pow(tokens, -0.2) + (params < 2e7 ? 0.5 : 0)));
  EXPECT_TRUE(warns(fit(std::move(step)), "exponent-at-bound"));
}

TEST(StudyWarnings, AnIrreducibleLossThatIsNotKnown) {
  Synthetic far;  // where E is a small part of every loss
  far.law = {0.05, 30, 60, 0.2, 0.2, 1};
  far.noise = 0.01;
  EXPECT_THAT(message(fit(make_table(far)), "e-not-identified"), HasSubstr("reaches 0"));
}

TEST(StudyWarnings, OneRunThatMovesAConstant) {
  Synthetic few = noisy();
  few.budgets = {1e19, 1e20};
  few.factors = {0.1, 0.3, 1, 3, 10};
  RunsTable table = make_table(few);
  table.runs.push_back(make_run("lever", 1e11, 1e12, 2.2));
  EXPECT_TRUE(warns(fit(std::move(table)), "leave-one-out"));
}

TEST(StudyWarnings, NothingToHoldOut) {
  Synthetic small = noisy();
  small.budgets = {1e18, 1e19};
  small.factors = {0.3, 0.6, 1, 2, 4};
  const StudyFit study = fit(make_table(small));
  EXPECT_TRUE(warns(study, "no-holdout"));
  EXPECT_TRUE(study.holdout.empty());
  EXPECT_STREQ(study.best().form->name, "chinchilla");
  EXPECT_TRUE(warns(study, "resamples-redrawn"));
}

// Losses that are noise alone have many optima.
TEST(StudyWarnings, StartsAndSolversThatDoNotAgree) {
  if (!have_ceres()) GTEST_SKIP() << "built without Ceres";
  RunsTable noise = make_table(noisy());
  for (size_t i = 0; i < noise.runs.size(); ++i) noise.runs[i].loss = std::exp(2 * philox_normal(12, i));
  FitSettings settings = quick();
  settings.form = "chinchilla-gamma";
  settings.starts = 60;
  settings.resamples = 0;
  const StudyFit study = fit(std::move(noise), settings);
  EXPECT_THAT(message(study, "few-starts"), HasSubstr("1 of 60 starts"));
  EXPECT_TRUE(warns(study, "solvers-disagree"));
}

TEST(StudyWarnings, ASolverThatStandsAlone) { EXPECT_EQ(warns(fit(make_table(noisy())), "one-solver"), !have_ceres()); }

// ---- fit.json, predictions, the report ----

class FitFile : public ::testing::Test {
 protected:
  FittedStudy written(const StudyFit& study) {
    const Path path = folder_.path() / "fit.json";
    replace_file(path, write_fit(study, {}, {"1.2.3", "abc"}));
    return read_fit(path.string());
  }
  TemporaryDirectory folder_;
};

TEST_F(FitFile, HoldsEverythingWithAllDigits) {
  const StudyFit study = fit(make_table(noisy()));
  const FittedStudy read = written(study);
  EXPECT_EQ(read.law.constants(), study.best().law.constants());
  EXPECT_EQ(read.residuals, study.residuals);
  ASSERT_EQ(read.resamples.size(), 100U);
  EXPECT_EQ(read.resamples[17].constants(), study.resamples[17].constants());
  for (const char* key : {"form",
                          "gamma",
                          "alpha",
                          "beta",
                          "E",
                          "A",
                          "B",
                          "objective",
                          "n",
                          "a",
                          "b",
                          "hessian_condition",
                          "share_of_starts_at_optimum",
                          "intervals",
                          "forms",
                          "exponents",
                          "excluded",
                          "warnings",
                          "options",
                          "version",
                          "leave_one_out",
                          "ln"})
    EXPECT_TRUE(read.json.contains(key)) << key;
  EXPECT_TRUE(read.json["warnings"].is_array());
  EXPECT_EQ(read.json["forms"].size(), 4U);
  EXPECT_EQ(read.json["forms"]["chinchilla"]["E"].get<double>(), study.best().law.e);
}

TEST_F(FitFile, WhatIsNoneIsRefused) {
  const Path path = folder_.path() / "bad.json";
  replace_file(path, "{\"schema\": 2}");
  EXPECT_THROW(read_fit(path.string()), Error);
  replace_file(path, "params,tokens,loss\n");
  EXPECT_THROW(read_fit(path.string()), Error);
}

TEST_F(FitFile, AHeldOutRunLiesInItsPredictedInterval) {
  const FittedStudy read = written(fit(make_table(noisy())));
  const Law law = usual_law();
  const LossPrediction p = predict_loss(read, 2e9, 1e11);
  EXPECT_GT(law.loss(2e9, 1e11), p.loss.interval->p025);
  EXPECT_LT(law.loss(2e9, 1e11), p.loss.interval->p975);
  // A single run varies more than the law.
  EXPECT_GT(p.loss.interval->p975 - p.loss.interval->p025, p.mean.interval->p975 - p.mean.interval->p025);
  const BudgetPrediction best = predict_budget(read, 1e21);
  EXPECT_NEAR(best.params.value * best.tokens.value * 6 / 1e21, 1, 1e-12);
  EXPECT_LT(best.params.interval->p025, law.optimal_params(1e21));
  EXPECT_GT(best.params.interval->p975, law.optimal_params(1e21));
  EXPECT_NEAR(extrapolation(read, 3e21), 10, 1e-6);
}

TEST_F(FitFile, TheReportSaysAllOfIt) {
  RunsTable table = make_table(noisy());
  table.excluded = {{"lost", ExcludedRow::Why::kDiverged, "diverged"}};
  const std::string report = write_report(written(fit(std::move(table))), "figures");
  for (const char* part : {"# A scaling law from 54 runs", "## Warnings", "**diverged-runs**", "## Constants",
                           "## Forms", "held-out error", "## Compute-optimal exponents", "## Budgets", "## Predictions",
                           "- lost: diverged", "![", "figures/isoflop.svg", "## To repeat it", "--seed 1"})
    EXPECT_THAT(report, HasSubstr(part));
  EXPECT_THAT(report, Not(HasSubstr("nan")));
}

TEST_F(FitFile, TablesThatHoldNoLawAreReportedToo) {
  FitSettings settings = quick();
  settings.resamples = 20;
  for (const char* kind : {"constant", "growing", "noise"}) {
    RunsTable table = make_table(noisy());
    for (size_t i = 0; i < table.runs.size(); ++i) {
      StudyRun& run = table.runs[i];
      run.loss = kind[0] == 'c' ? 2 : kind[0] == 'g' ? std::pow(run.params, 0.1) : std::exp(philox_normal(5, i));
    }
    const FittedStudy read = written(fit(std::move(table), settings));
    EXPECT_THAT(write_report(read, "figures"), HasSubstr("## To repeat it")) << kind;
    EXPECT_FALSE(read.json["warnings"].empty()) << kind;
  }
}

TEST_F(FitFile, WithoutResamplesThereAreNoIntervals) {
  FitSettings settings = quick();
  settings.resamples = 0;
  const FittedStudy read = written(fit(make_table(noisy()), settings));
  EXPECT_FALSE(predict_loss(read, 1e9, 1e10).loss.interval);
  EXPECT_THAT(write_report(read, ""), HasSubstr("Over 0 resamples"));
}

}  // namespace
}  // namespace retain::test
