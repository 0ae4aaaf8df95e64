// Which steps are skipped, rolled back or end a run, told by their numbers alone.
#include "trainer/numerics/guard.h"

#include <gtest/gtest.h>

#include <cmath>

#include "kernels/core/error.h"

namespace retain::test {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

/// A guard that has seen so many calm steps.
NumericsGuard calm(const NumericsConfig& config, int64_t steps) {
  NumericsGuard guard(config);
  for (int64_t i = 1; i <= steps; ++i) {
    const double wave = 0.01 * static_cast<double>(i % 7);
    const NumbersVerdict verdict = guard.record({.step = i, .loss = 2 + wave, .grad_norm = 1 + wave});
    EXPECT_TRUE(verdict.warning.empty() && verdict.trouble.empty()) << verdict.warning;
  }
  return guard;
}

StepNumbers not_finite(int64_t step) { return {.step = step, .loss = 2, .grad_norm = kNan, .skipped = true}; }

TEST(NumericsGuard, AsksForARollbackAfterSoManySkipsInARowAndNotBefore) {
  NumericsGuard guard = calm({.max_skips = 3}, 10);
  for (const int64_t begin : {11, 14}) {
    EXPECT_EQ(guard.record(not_finite(begin)).trouble, "");
    EXPECT_EQ(guard.record(not_finite(begin + 1)).warning,
              "step " + std::to_string(begin + 1) + ": the gradient is not finite; nothing was updated");
    if (begin == 14) break;
    EXPECT_EQ(guard.record({.step = 13, .loss = 2, .grad_norm = 1}).warning, "");
  }
  const NumbersVerdict verdict = guard.record(not_finite(16));
  EXPECT_EQ(verdict.trouble, "step 16: 3 updates in a row had no finite gradient");
  EXPECT_EQ(verdict.last_good, 13);
  EXPECT_TRUE(verdict.diverged);
  EXPECT_EQ(guard.skipped(), 5);
}

TEST(NumericsGuard, SaysThatTheLossAloneIsNotFinite) {
  NumericsGuard guard = calm({}, 10);
  const NumbersVerdict verdict = guard.record({.step = 11, .loss = kNan, .grad_norm = 1, .skipped = true});
  EXPECT_EQ(verdict.warning, "step 11: the loss is not finite; nothing was updated");
}

TEST(NumericsGuard, AllowsARollbackAgainOnceACheckpointHasPassedTheTrouble) {
  NumericsGuard guard({.max_rollbacks = 2});
  EXPECT_TRUE(guard.may_roll_back(100));
  guard.committed(90);
  guard.committed(100);
  EXPECT_TRUE(guard.may_roll_back(110));
  EXPECT_FALSE(guard.may_roll_back(115));
  guard.committed(110);
  EXPECT_FALSE(guard.may_roll_back(118));
  guard.committed(120);
  EXPECT_TRUE(guard.may_roll_back(150));
  EXPECT_FALSE(NumericsGuard({.max_rollbacks = 0}).may_roll_back(1));
}

TEST(NumericsGuard, WarnsOfASpikeOnceAnEpisode) {
  NumericsGuard guard = calm({}, 100);
  const NumbersVerdict spike = guard.record({.step = 101, .loss = 9, .grad_norm = 1});
  EXPECT_EQ(spike.event, "spike");
  EXPECT_NE(spike.warning.find("step 101: the loss 9 is"), std::string::npos) << spike.warning;
  EXPECT_EQ(spike.trouble, "");
  EXPECT_EQ(guard.record({.step = 102, .loss = 8, .grad_norm = 1}).warning, "");
  EXPECT_EQ(guard.record({.step = 103, .loss = 2, .grad_norm = 1}).warning, "");
  EXPECT_NE(guard.record({.step = 104, .loss = 2, .grad_norm = 7}).warning.find("the gradient's norm 7"),
            std::string::npos);
  EXPECT_TRUE(std::isinf(guard.limits(0).loss)) << "a warning forbids nothing";
}

TEST(NumericsGuard, RollsBackAtASpikeWhereThatIsThePolicyThoughTheRunHasNotDiverged) {
  NumericsGuard guard = calm({.on_spike = OnSpike::kRollBack}, 100);
  const NumbersVerdict verdict = guard.record({.step = 101, .loss = 9, .grad_norm = 1});
  EXPECT_NE(verdict.trouble.find("step 101: the loss 9"), std::string::npos);
  EXPECT_EQ(verdict.last_good, 100);
  EXPECT_FALSE(verdict.diverged);
}

// A device that runs ahead is given the limits of a step before the one before it has ended.
TEST(NumericsGuard, LimitsOfAStepDependOnThoseUntilTwoBeforeIt) {
  const NumericsConfig config{.on_spike = OnSpike::kSkip};
  NumericsGuard before = calm(config, 100);
  NumericsGuard after = before;
  after.record({.step = 101, .loss = 2.2, .grad_norm = 1.2});
  EXPECT_EQ(before.limits(1).loss, after.limits(0).loss);  // both of step 102
  EXPECT_EQ(before.limits(1).grad_norm, after.limits(0).grad_norm);
  EXPECT_LT(after.limits(0).loss, 3);
  EXPECT_GT(after.limits(0).loss, 2.07);
}

TEST(NumericsGuard, GoesOnFromItsTextAsIfItHadNeverEnded) {
  for (const OnSpike policy : {OnSpike::kWarn, OnSpike::kSkip}) {
    const NumericsConfig config{.max_skips = 3, .on_spike = policy};
    NumericsGuard whole = calm(config, 77);
    whole.record(not_finite(78));
    whole.record(not_finite(79));
    EXPECT_TRUE(whole.may_roll_back(79));
    NumericsGuard resumed(config);
    resumed.from_text(whole.to_text());
    EXPECT_EQ(resumed.to_text(), whole.to_text());
    for (const int64_t ahead : {0, 1}) EXPECT_EQ(resumed.limits(ahead).loss, whole.limits(ahead).loss);
    EXPECT_NE(resumed.record(not_finite(80)).trouble, "");
    EXPECT_FALSE(resumed.may_roll_back(80));
  }
}

TEST(NumericsGuard, AfterARollbackTheStatisticsAreTheCheckpointsAndTheCountsTheRuns) {
  NumericsGuard guard = calm({.max_skips = 1}, 40);
  const std::string checkpoint = guard.to_text();
  EXPECT_NE(guard.record(not_finite(41)).trouble, "");
  EXPECT_TRUE(guard.may_roll_back(41));
  guard.roll_back_to(checkpoint);
  EXPECT_EQ(guard.skipped(), 1);
  EXPECT_FALSE(guard.may_roll_back(41));
  guard.roll_back_to("");  // of an older release
  EXPECT_EQ(guard.skipped(), 1);
}

TEST(NumericsGuard, RefusesATextThatIsNone) {
  NumericsGuard guard({});
  for (const char* text : {"x", "{}", "[]"}) EXPECT_THROW(guard.from_text(text), Error) << text;
}

}  // namespace
}  // namespace retain::test
