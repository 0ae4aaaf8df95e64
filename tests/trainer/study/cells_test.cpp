#include "trainer/study/cells.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/trainer/study/small_study.h"
#include "trainer/model/parameter_layout.h"
#include "trainer/optimizer/schedule.h"

namespace retain::test {
namespace {

using study::make_runs;
using study::Study;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<study::Run> runs_of(const Study& s) {
  std::vector<std::string> doubts;
  return make_runs(s, doubts);
}

std::vector<std::string> names_of(const std::vector<study::Run>& runs) {
  std::vector<std::string> names;
  for (const study::Run& run : runs) names.push_back(run.name);
  return names;
}

const study::Run& find(const std::vector<study::Run>& runs, const std::string& name) {
  return *std::ranges::find(runs, name, &study::Run::name);
}

std::string complaint(const Study& s) {
  try {
    runs_of(s);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "";
}

TEST(StudyCells, WithoutBranchesEachIsARunOfItsOwn) {
  const std::vector<study::Run> runs = runs_of(small_study());
  EXPECT_THAT(names_of(runs), ElementsAre("S-d20.5k-s1", "S-d41k-s1", "M-d20.5k-s1", "M-d41k-s1"));
  for (const study::Run& run : runs) {
    EXPECT_TRUE(run.is_cell && run.parent.empty());
    EXPECT_EQ(run.config.run.dir, "/studies/small/cells/" + run.name);
    EXPECT_EQ(run.config.schedule.kind, ScheduleKind::kWsd);
  }
}

TEST(StudyCells, ACellBranchesOffWhereItsDecayBegins) {
  Study s = small_study();
  s.decay_branches = true;
  s.sizes.resize(1);
  const std::vector<study::Run> runs = runs_of(s);
  EXPECT_THAT(names_of(runs), ElementsAre("S-s1-leg16", "S-d20.5k-s1", "S-s1-leg32", "S-d41k-s1"));
  EXPECT_EQ(find(runs, "S-s1-leg32").parent, "S-s1-leg16");
  EXPECT_EQ(find(runs, "S-s1-leg32").first_step, 16);
  EXPECT_EQ(find(runs, "S-d41k-s1").parent, "S-s1-leg32");
  EXPECT_EQ(find(runs, "S-d41k-s1").first_step, 32);
  EXPECT_TRUE(find(runs, "S-s1-leg16").config.data.valid.empty());
}

// What a branch does is what one run of its length would have done: the rate of every step of the way is the same, and
// so is every setting that decides weights and data.
TEST(StudyCells, ATrunkAndItsBranchAreTogetherOneRunOfTheSchedule) {
  Study s = small_study();
  const std::vector<study::Run> whole = runs_of(s);
  s.decay_branches = true;
  const std::vector<study::Run> tree = runs_of(s);
  const Config& one = find(whole, "S-d41k-s1").config;
  const auto rate = [](const Config& config, int64_t step) {
    return learning_rate(config, step * config.train.batch_tokens);
  };
  for (int64_t step = 0; step < 40; ++step) {
    const char* const name = step < 16 ? "S-s1-leg16" : step < 32 ? "S-s1-leg32" : "S-d41k-s1";
    const Config& part = find(tree, name).config;
    EXPECT_EQ(rate(part, step), rate(one, step)) << step;
    EXPECT_EQ(part.run.seed, one.run.seed);
    EXPECT_EQ(part.train.batch_tokens, one.train.batch_tokens);
  }
}

TEST(StudyCells, BudgetsAreSpentInExactFlops) {
  Study s = small_study();
  s.tokens.clear();
  s.budgets = {{.flops = 5e10, .sizes = {}}, {.flops = 2e11, .sizes = {"M"}}};
  const std::vector<study::Run> runs = runs_of(s);
  EXPECT_THAT(names_of(runs), ElementsAre("S-c5e10-s1", "M-c5e10-s1", "M-c2e11-s1"));
  for (const study::Run& run : runs) {
    const double flops = flops_per_token(run.config.model) * static_cast<double>(run.config.train.tokens);
    const double step = flops_per_token(run.config.model) * 1024;
    EXPECT_NEAR(flops, run.name == "M-c2e11-s1" ? 2e11 : 5e10, step / 2) << run.name;
  }
}

TEST(StudyCells, ARepeatedCellHasATrunkOfItsOwnThatEndsWithIt) {
  Study s = small_study();
  s.decay_branches = true;
  s.sizes.resize(1);
  s.repeats = {{"S-d20.5k", {7, 1}}};
  const std::vector<study::Run> runs = runs_of(s);
  EXPECT_THAT(names_of(runs),
              ElementsAre("S-s1-leg16", "S-d20.5k-s1", "S-s1-leg32", "S-d41k-s1", "S-s7-leg16", "S-d20.5k-s7"));
  EXPECT_EQ(find(runs, "S-d20.5k-s7").config.run.seed, 7u);
}

// Seeds of one cell differ in the seed alone, though another cell of the size decides the trunk's hyperparameters.
TEST(StudyCells, SeedsDifferInTheSeedAlone) {
  Study s = small_study();
  s.decay_branches = true;
  s.rules.batch_tokens = {.kind = study::RuleKind::kPowerLaw, .coefficient = 0.05, .exponent_tokens = 1};
  s.repeats = {{"S-d20.5k", {2}}};
  s.rules.warmup_tokens = {.kind = study::RuleKind::kPowerLaw, .coefficient = 2048};
  std::vector<std::string> doubts;
  const std::vector<study::Run> runs = make_runs(s, doubts);
  EXPECT_EQ(find(runs, "S-d20.5k-s1").config.train.batch_tokens, find(runs, "S-d20.5k-s2").config.train.batch_tokens);
  ASSERT_EQ(doubts.size(), 1u);
  EXPECT_THAT(doubts[0], HasSubstr("a rule depends on tokens"));
}

TEST(StudyCells, WhatCannotBeAStudyIsRefusedWithTheRemedy) {
  Study s = small_study();
  s.base.schedule.kind = ScheduleKind::kConstant;
  s.base.data.valid.clear();
  EXPECT_THAT(complaint(s), HasSubstr("schedule.kind = constant never decays"));
  EXPECT_THAT(complaint(s), HasSubstr("data.valid is required"));
  EXPECT_THAT(complaint(s), HasSubstr("2 errors; nothing was started."));
  s = small_study();
  s.decay_branches = true;
  s.base.schedule.kind = ScheduleKind::kCosine;
  EXPECT_THAT(complaint(s), HasSubstr("decay_branches needs schedule.kind: wsd"));
  s = small_study();
  s.repeats = {{"S-d1M", {2}}};
  EXPECT_THAT(complaint(s), HasSubstr("'S-d1M' is no cell of this study (cells: S-d20.5k, S-d41k, M-d20.5k, M-d41k)"));
  s = small_study();
  s.base.schedule.warmup_steps = 30;
  s.decay_branches = true;
  EXPECT_THAT(complaint(s), HasSubstr("S-d20.5k: the warm-up takes 30 steps, and the cell decays after 16"));
  s = small_study();
  s.tokens = {20'480, 20'481};
  EXPECT_THAT(complaint(s), HasSubstr("S-d20.5k-s1 and S-d20.5k-s1 are the same cell: 20 steps of 1024 tokens"));
  s = small_study();
  s.base.parallel.tp = 3;
  s.machine.ranks = 3;
  EXPECT_THAT(complaint(s), HasSubstr("size S: parallel.tp = 3 does not divide model.heads = 4"));
}

}  // namespace
}  // namespace retain::test
