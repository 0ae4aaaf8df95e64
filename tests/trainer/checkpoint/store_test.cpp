#include "trainer/checkpoint/store.h"

#include "tests/trainer/checkpoint/fixture.h"

namespace retain::test {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

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

TEST(Commit, ResumeOfAnOlderStepDropsALatestThatNamesWhatIsSetAside) {
  const TemporaryDirectory run;
  const Path checkpoints = run.path() / "checkpoints";
  run_ranks(1, [&](Communicator& host) {
    for (int64_t step = 1; step <= 2; ++step) save_on<float>(host, {}, run.path(), step);
  });
  set_aside_newer(checkpoints, 2);
  EXPECT_EQ(read_latest(checkpoints), 2);
  set_aside_newer(checkpoints, 1);
  EXPECT_EQ(read_latest(checkpoints), std::nullopt);
}

// A run with links to the steps 1 to 3 of another.
class LinkedSteps : public ::testing::Test {
 protected:
  void SetUp() override {
    run_ranks(1, [&](Communicator& host) {
      for (int64_t step = 1; step <= 3; ++step) save_on<float>(host, {}, other_.path(), step);
    });
    std::filesystem::create_directory(checkpoints());
    for (const StepEntry& entry : list_steps(theirs())) {
      std::filesystem::create_symlink(entry.path, checkpoints() / entry.path.filename());
    }
  }
  Path theirs() const { return other_.path() / "checkpoints"; }
  Path checkpoints() const { return run_.path() / "checkpoints"; }

  TemporaryDirectory other_, run_;
};

TEST_F(LinkedSteps, AreReadThrough) {
  run_ranks(2, [&](Communicator& host) { expect_newest_loads<float>(host, run_.path(), {2, 1, 1}, true, 3); });
  EXPECT_EQ(judge_step(checkpoints() / step_name(3), Depth::kFiles).condition, StepCondition::kWhole);
}

TEST_F(LinkedSteps, AreReplacedSetAsideAndDeletedWithoutTouchingWhatTheyLeadTo) {
  run_ranks(1, [&](Communicator& host) {
    EXPECT_EQ(save_on<double>(host, {}, run_.path(), 3).message, "");
    expect_newest_loads<double>(host, run_.path(), {}, true, 3);
  });
  set_aside_newer(checkpoints(), 1);
  delete_step(checkpoints() / step_name(1));
  for (const SetAsideStep& aside : list_set_aside(checkpoints())) delete_step(aside.path);
  EXPECT_TRUE(std::filesystem::is_empty(checkpoints()));
  for (int64_t step = 1; step <= 3; ++step) {
    EXPECT_EQ(judge_step(theirs() / step_name(step), Depth::kFiles).condition, StepCondition::kWhole) << step;
  }
}

TEST_F(LinkedSteps, ThatLeadNowhereAreNamedAndEndALoadWithoutAFallback) {
  std::filesystem::rename(theirs() / step_name(3), other_.path() / "elsewhere");
  run_ranks(2, [&](Communicator& host) {
    EXPECT_THAT(error_of(ErrorKind::kData, [&] { open_newest(host, run_.path(), true, ignore_log); }),
                AllOf(HasSubstr("step-00000003 is a symbolic link to "), HasSubstr("where nothing is")));
  });
  EXPECT_THAT(steps_in(checkpoints()), ElementsAre(3, 2, 1)) << "nothing was set aside";
  EXPECT_EQ(judge_step(checkpoints() / step_name(3), Depth::kFiles).condition, StepCondition::kUnknown);
}

TEST_F(LinkedSteps, OfALinkedFolderAreReadButNothingIsWrittenThere) {
  const TemporaryDirectory run;
  std::filesystem::create_symlink(theirs(), run.path() / "checkpoints");
  run_ranks(1, [&](Communicator& host) {
    expect_newest_loads<float>(host, run.path(), {}, true, 3);
    EXPECT_THAT(error_of(ErrorKind::kCannotCreate, [&] { check_can_save(host, run.path(), 1000); }),
                HasSubstr("checkpoints is a symbolic link to "));
  });
  std::filesystem::rename(theirs(), other_.path() / "elsewhere");
  EXPECT_THAT(error_of(ErrorKind::kData, [&] { list_steps(run.path() / "checkpoints"); }),
              HasSubstr("where nothing is"));
}

}  // namespace
}  // namespace retain::test
