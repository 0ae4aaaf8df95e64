#include "trainer/checkpoint/store.h"

#include "tests/trainer/checkpoint/fixture.h"

namespace retain::test {
namespace {

using ::testing::ElementsAre;

std::vector<int64_t> steps_in(const Path& checkpoints) {
  std::vector<int64_t> steps;
  for (const StepEntry& entry : list_steps(checkpoints)) steps.push_back(entry.step);
  return steps;
}

TEST(StepName, IsReadBackAndNothingElseIs) {
  for (const int64_t step : {0L, 7L, 99999999L, 123456789L, 9007199254740993L}) {
    EXPECT_EQ(parse_step_name(step_name(step)), step);
  }
  EXPECT_EQ(step_name(1000), "step-00001000");
  for (const char* name : {"step-1", "step-", "step-0000001x", "step--0000001", "Step-00000001", "step-000000001", "",
                           "step-00000001.bak", ".tmp-step-00000001.0123456789abcdef", "step-99999999999999999999"}) {
    EXPECT_FALSE(parse_step_name(name)) << name;
  }
}

TEST(Retention, KeepsNewestAndMultiplesAndBestAndNeverCountsDamagedSteps) {
  const std::vector<RetentionCandidate> steps = {{70, true, 3.0}, {60, true, 2.0}, {50, false, 1.0}, {40, true, 5.0},
                                                 {30, true, 1.5}, {20, true, 4.0}, {10, true, 9.0}};
  EXPECT_THAT(steps_to_delete({.keep = 3}, steps), ElementsAre(30, 20, 10));
  EXPECT_THAT(steps_to_delete({.keep = 2}, steps), ElementsAre(50, 40, 30, 20, 10));
  EXPECT_THAT(steps_to_delete({.keep = 2, .keep_every = 20}, steps), ElementsAre(50, 30, 10));
  EXPECT_THAT(steps_to_delete({.keep = 2, .keep_best = 2}, steps), ElementsAre(50, 40, 20, 10));
  EXPECT_THAT(steps_to_delete({.keep = 2, .keep_best = 3}, steps), ElementsAre(50, 40, 20, 10))
      << "60, 30 and 70 are best";
  EXPECT_THAT(steps_to_delete({.keep = 10}, steps), ElementsAre());
}

TEST(Retention, KeepsTwoEvenWhenAskedForOne) {
  EXPECT_THAT(steps_to_delete({.keep = 1}, {{3, true, 0}, {2, true, 0}, {1, true, 0}}), ElementsAre(1));
}

TEST(Retention, DeletesOldStepsOnDiskAndNothingUnknown) {
  const TemporaryDirectory run;
  const Path checkpoints = run.path() / "checkpoints";
  std::filesystem::create_directories(checkpoints / "step-1");  // not our form
  std::filesystem::create_directories(checkpoints / "my notes");
  write_all(checkpoints / "step-00000000", "a file");
  run_ranks(1, [&](Communicator& host) {
    for (int64_t step = 1; step <= 6; ++step) {
      EXPECT_EQ(save_on<float>(host, {}, run.path(), step, {.keep = 2, .keep_every = 3}).message, "");
    }
  });
  EXPECT_THAT(steps_in(checkpoints), ElementsAre(6, 5, 3));
  EXPECT_TRUE(std::filesystem::exists(checkpoints / "step-1"));
  EXPECT_TRUE(std::filesystem::exists(checkpoints / "my notes"));
  EXPECT_TRUE(std::filesystem::exists(checkpoints / "step-00000000"));
}

TEST(Retention, KeepsADamagedNewerStepFromCostingTheLastWholeOnes) {
  const TemporaryDirectory run;
  const Path checkpoints = run.path() / "checkpoints";
  run_ranks(1, [&](Communicator& host) {
    for (int64_t step = 1; step <= 3; ++step) save_on<float>(host, {}, run.path(), step);
    std::filesystem::resize_file(checkpoints / step_name(3) / shard_file_name(0, 1), 1000);
    save_on<float>(host, {}, run.path(), 4, {.keep = 2});
  });
  EXPECT_THAT(steps_in(checkpoints), ElementsAre(4, 3, 2));
}

TEST(Debris, OfKilledRunsGoesAndUnknownNamesStay) {
  const TemporaryDirectory run;
  const Path& dir = run.path();
  const std::string nonce = ".0123456789abcdef";
  const std::vector<std::string> names = {".tmp-step-00000005" + nonce,
                                          ".trash-step-00000004" + nonce,
                                          ".bad-step-00000003" + nonce,
                                          ".old-step-00000002" + nonce,
                                          ".tmp-mine",
                                          ".tmp-step-00000005.short",
                                          ".tmp-step-5" + nonce,
                                          ".trash-step-00000001" + nonce};
  for (const std::string& name : names) {
    std::filesystem::create_directories(dir / name);
    write_all(dir / name / "shard-00000-of-00001.h5", "x");
    write_all(dir / name / "manifest.json", "x");
  }
  write_all(dir / (".trash-step-00000001" + nonce) / "notes.txt", "somebody's");
  write_all(dir / ("latest.new" + nonce), "step-");
  delete_all_debris(dir);
  std::vector<std::string> left;
  for (const auto& entry : std::filesystem::directory_iterator(dir)) left.push_back(entry.path().filename());
  EXPECT_THAT(left, ::testing::UnorderedElementsAre(".bad-step-00000003" + nonce, ".old-step-00000002" + nonce,
                                                    ".tmp-mine", ".tmp-step-00000005.short", ".tmp-step-5" + nonce,
                                                    ".trash-step-00000001" + nonce));
  EXPECT_TRUE(std::filesystem::exists(dir / (".trash-step-00000001" + nonce) / "notes.txt"));
}

TEST(Commit, ReplacesAStepOfTheSameNumberInOneInstant) {
  const TemporaryDirectory run;
  run_ranks(2, [&](Communicator& host) {
    EXPECT_EQ(save_on<float>(host, {2, 1, 1}, run.path(), 5).message, "");
    EXPECT_EQ(save_on<double>(host, {1, 1, 2}, run.path(), 5).message, "");
    const std::optional<Checkpoint> checkpoint = open_newest(host, run.path(), false, ignore_log);
    ASSERT_TRUE(checkpoint);
    expect_loaded<double>(host, *checkpoint, {1, 1, 2}, true, 5);
  });
  EXPECT_THAT(steps_in(run.path() / "checkpoints"), ElementsAre(5));
}

TEST(Commit, ResumeOfAnOlderStepSetsItsFutureAside) {
  const TemporaryDirectory run;
  run_ranks(1, [&](Communicator& host) {
    for (int64_t step = 1; step <= 4; ++step) save_on<float>(host, {}, run.path(), step);
  });
  set_aside_newer(run.path() / "checkpoints", 2);
  EXPECT_THAT(steps_in(run.path() / "checkpoints"), ElementsAre(2, 1));
}

}  // namespace
}  // namespace retain::test
