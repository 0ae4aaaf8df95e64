// What the checkpoints of a run take of a disk, step by step.
#include "trainer/checkpoint/disk_plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <limits>
#include <set>

namespace retain::test {
namespace {

constexpr int64_t kOne = 1000;

/// The same, save by save, with the rules of retention themselves. Validation losses fall, so that what is best is
/// always among the newest: keep_best is not simulated.
struct Simulated {
  int64_t most_count = 0, most_bytes = 0, end_count = 0;
  std::optional<int64_t> lacks_at;
};
Simulated simulate(const Retention& retention, bool frees_first, const SavesToCome& saves, CheckpointsOnDisk now) {
  Simulated result;
  std::vector<StepOnDisk> steps = now.steps, aside = now.set_aside;
  for (const StepOnDisk& step : now.steps) {
    if (step.step > saves.done) aside.push_back(step);
  }
  std::erase_if(steps, [&](const StepOnDisk& step) { return step.step > saves.done; });
  const auto bytes = [&] {
    int64_t sum = 0;
    for (const StepOnDisk& step : steps) sum += step.bytes;
    for (const StepOnDisk& step : aside) sum += step.bytes;
    return sum;
  };
  const auto retain_newest = [&](int keep) {
    Retention rule = retention;
    rule.keep = keep;
    std::vector<int64_t> newest_first;
    for (const StepOnDisk& step : steps) newest_first.push_back(step.step);
    const RetentionRound plan = plan_retention(rule, newest_first, [](int64_t, Depth) { return StepVerdict{}; });
    std::erase_if(steps, [&](const StepOnDisk& step) {
      return std::find(plan.deleted.begin(), plan.deleted.end(), step.step) != plan.deleted.end();
    });
    std::erase_if(aside, [&](const StepOnDisk& step) { return step.step <= plan.oldest_kept; });
  };
  const int64_t there = bytes();
  for (int64_t step = saves.done + 1; step <= saves.last; ++step) {
    if (step != saves.last && (saves.every == 0 || step % saves.every != 0)) continue;
    if (frees_first) retain_newest(std::max(1, retention.keep - 1));
    result.most_count = std::max<int64_t>(result.most_count, std::ssize(steps) + 1);
    result.most_bytes = std::max(result.most_bytes, bytes() + kOne);
    if (!result.lacks_at && now.free_bytes && bytes() + kOne - there > *now.free_bytes) result.lacks_at = step;
    steps.insert(steps.begin(), {step, kOne});
    retain_newest(retention.keep);
  }
  result.end_count = std::ssize(steps);
  return result;
}

TEST(DiskPlan, IsWhatRetentionLeavesSaveBySave) {
  const std::vector<std::vector<StepOnDisk>> before = {{}, {{12, 900}, {8, 800}, {4, 700}}, {{16, 900}, {12, 800}}};
  const std::vector<std::vector<StepOnDisk>> set_aside = {{}, {{9, 300}, {2, 100}}, {{40, 3000}, {30, 50}, {20, 2000}}};
  int cases = 0;
  for (const int keep : {1, 2, 3, 7}) {
    for (const int64_t keep_every : {0, 6, 8, 24, 1000}) {
      for (const int64_t every : {0, 1, 4, 5}) {
        for (const int64_t last : {12, 13, 24, 61}) {
          for (const auto& steps : before) {
            for (const auto& aside : set_aside) {
              for (const int64_t free : {500, 1500, 2500, 4500, 9000}) {
                for (const bool frees_first : {false, true}) {
                  const Retention retention{.keep = keep, .keep_every = keep_every};
                  const SavesToCome saves{.done = steps.empty() ? 0 : 12, .last = last, .every = every};
                  const CheckpointsOnDisk now{.steps = steps, .set_aside = aside, .free_bytes = free};
                  const DiskPlan plan = plan_disk(retention, frees_first, saves, kOne, now);
                  const Simulated want = simulate(retention, frees_first, saves, now);
                  const std::string what =
                      concat("keep ", keep, " keep_every ", keep_every, " every ", every, " last ", last, " before ",
                             steps.size(), " aside ", aside.size(), " free ", free, frees_first ? " frees first" : "");
                  ++cases;
                  ASSERT_EQ(plan.most_count, want.most_count) << what;
                  ASSERT_EQ(plan.most_bytes, want.most_bytes) << what;
                  ASSERT_EQ(plan.lacks_at, want.lacks_at) << what;
                  ASSERT_EQ(plan.end_count, saves.count() > 0 ? want.end_count : plan.end_count) << what;
                }
              }
            }
          }
        }
      }
    }
  }
  EXPECT_EQ(cases, 4 * 5 * 4 * 4 * 3 * 3 * 5 * 2);
}

TEST(DiskPlan, TheSaveThatWillNotFitIsNamedWithWhatIsLacking) {
  // Room for two, of which two are kept while the third is written.
  const Retention retention{.keep = 2};
  const SavesToCome saves{.done = 0, .last = 24, .every = 4};
  constexpr int64_t kGigabyte = 1'000'000'000;
  const CheckpointsOnDisk now{.steps = {}, .set_aside = {}, .free_bytes = 2 * kGigabyte};
  const DiskPlan plan = plan_disk(retention, false, saves, kGigabyte, now);
  EXPECT_EQ(plan.lacks_at, 12);
  EXPECT_FALSE(plan.lacks_at_first);
  EXPECT_EQ(
      plan.warning(retention),
      "the checkpoint of step 12 will not fit: 1.00 GB are lacking then. A checkpoint takes 1.00 GB, up to 3 are there "
      "at once (checkpoint.keep: 2, and one that is being written), and 2.00 GB are free now. Keep fewer, free some, "
      "or put run.dir on another disk");
  EXPECT_EQ(plan_disk(retention, true, saves, kGigabyte, now).warning(retention), "") << "one goes before the third";
  EXPECT_TRUE(plan_disk(retention, false, saves, 3 * kGigabyte, now).lacks_at_first);
  EXPECT_EQ(plan_disk(retention, false, saves, kGigabyte, {}).warning(retention), "") << "nobody knows";
}

TEST(DiskPlan, BestStepsAreCountedAsFarAsThereCanBeSo) {
  const Retention retention{.keep = 2, .keep_best = 3};
  const SavesToCome saves{.done = 0, .last = 10, .every = 1};
  const DiskPlan plan = plan_disk(retention, false, saves, kOne, {});
  EXPECT_EQ(plan.most_count, 2 + 3 + 1);
  EXPECT_EQ(plan.end_count, 2 + 3);
  EXPECT_EQ(plan_disk(retention, false, {.done = 0, .last = 3, .every = 1}, kOne, {}).end_count, 3);
}

TEST(DiskPlan, AnyRunIsPlannedAtOnceWithoutWrappingAround) {
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
  const Retention retention{.keep = 1'000'000, .keep_every = 7};
  const SavesToCome saves{.done = 0, .last = 1'000'000'000'000'000'000, .every = 1};
  const CheckpointsOnDisk now{.steps = {}, .set_aside = {}, .free_bytes = 12'000'000'000'000'000};
  const DiskPlan plan = plan_disk(retention, false, saves, 12'000'000'000'000, now);
  EXPECT_EQ(plan.lacks_at, 1001);
  EXPECT_EQ(plan.most_bytes, kMost);
  const Retention growing{.keep = 2, .keep_every = 1000};
  const DiskPlan grown = plan_disk(growing, false, saves, 12'000'000'000'000, now);
  // 2 newest, one being written, and a thousandth of all: the 998th of these is too much.
  EXPECT_EQ(grown.lacks_at, 998'000 + 3);
  EXPECT_EQ(
      plan_disk({.keep = 1, .keep_every = kMost}, false, {.done = 0, .last = kMost, .every = kMost - 1}, kMost, now)
          .most_bytes,
      kMost);
}

TEST(DiskPlan, LooksAtADirectoryThatIsThereOrNot) {
  const TemporaryDirectory directory;
  const Path run = directory.path() / "deep" / "run";
  EXPECT_TRUE(look_at_checkpoints(run).steps.empty());
  EXPECT_GT(look_at_checkpoints(run).free_bytes, 0);
  const Path step = checkpoints_directory(run) / step_name(8),
             aside = checkpoints_directory(run) / ".old-step-00000012.";
  std::filesystem::create_directories(step);
  std::filesystem::create_directories(aside.string() + "0123456789abcdef");
  write_new_file(step / "manifest.json", "12345");
  write_new_file(Path(aside.string() + "0123456789abcdef") / "manifest.json", "123");
  const CheckpointsOnDisk found = look_at_checkpoints(run);
  ASSERT_EQ(found.steps.size(), 1U);
  EXPECT_EQ(found.steps[0].step, 8);
  EXPECT_EQ(found.steps[0].bytes, 5);
  ASSERT_EQ(found.set_aside.size(), 1U);
  EXPECT_EQ(found.set_aside[0].bytes, 3);
}

}  // namespace
}  // namespace retain::test
