#include "trainer/checkpoint/retention.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <chrono>
#include <map>

#include "tests/trainer/checkpoint/fixture.h"

namespace retain::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// Steps as a judge finds them, who counts whose files were looked at.
class Steps {
 public:
  explicit Steps(std::map<int64_t, StepVerdict> verdicts) : verdicts_(std::move(verdicts)) {}

  RetentionRound plan(const Retention& retention) {
    judged_.clear();
    std::vector<int64_t> newest_first;
    for (const auto& [step, verdict] : verdicts_) newest_first.insert(newest_first.begin(), step);
    return plan_retention(retention, newest_first, [&](int64_t step, Depth depth) {
      if (depth == Depth::kFiles) judged_.push_back(step);
      return verdicts_.at(step);
    });
  }
  const std::vector<int64_t>& judged() const { return judged_; }

 private:
  std::map<int64_t, StepVerdict> verdicts_;
  std::vector<int64_t> judged_;
};

StepVerdict whole(double loss) { return {.valid_loss = loss}; }
StepVerdict damaged(double loss) { return {StepCondition::kDamaged, "cut", loss}; }
StepVerdict unknown() { return {StepCondition::kUnknown, "Input/output error"}; }

TEST(Retention, KeepsNewestAndMultiplesAndBestAndNeverCountsDamagedSteps) {
  Steps steps({{70, whole(3)},
               {60, whole(2)},
               {50, damaged(1)},
               {40, whole(5)},
               {30, whole(1.5)},
               {20, whole(4)},
               {10, whole(9)}});
  EXPECT_THAT(steps.plan({.keep = 3}).deleted, ElementsAre(30, 20, 10));
  EXPECT_THAT(steps.plan({.keep = 2}).deleted, ElementsAre(50, 40, 30, 20, 10));
  EXPECT_THAT(steps.plan({.keep = 2, .keep_every = 20}).deleted, ElementsAre(50, 30, 10));
  EXPECT_THAT(steps.plan({.keep = 2, .keep_best = 2}).deleted, ElementsAre(50, 40, 20, 10));
  EXPECT_THAT(steps.plan({.keep = 2, .keep_best = 3}).deleted, ElementsAre(50, 40, 20, 10)) << "60, 30 and 70 are best";
  EXPECT_THAT(steps.plan({.keep = 10}).deleted, IsEmpty());
  EXPECT_THAT(steps.plan({.keep = 1}).deleted, ElementsAre(60, 50, 40, 30, 20, 10));
}

TEST(Retention, LooksAtTheFilesOfTheNewestAndTheBestAlone) {
  Steps steps({{70, whole(3)}, {60, damaged(2)}, {50, whole(5)}, {40, whole(1)}, {30, whole(4)}, {20, whole(6)}});
  EXPECT_THAT(steps.plan({.keep = 2, .keep_every = 10}).deleted, IsEmpty());
  EXPECT_THAT(steps.judged(), ElementsAre(70, 60, 50));
  EXPECT_THAT(steps.plan({.keep = 2, .keep_best = 1}).deleted, ElementsAre(30, 20));
  EXPECT_THAT(steps.judged(), ElementsAre(70, 60, 50, 40));
}

TEST(Retention, DeletesNothingInARoundThatMeetsAStepWhichCannotBeJudged) {
  Steps newest({{40, whole(1)}, {30, unknown()}, {20, whole(1)}, {10, whole(1)}});
  EXPECT_THAT(newest.plan({.keep = 2}).deleted, IsEmpty());
  EXPECT_EQ(newest.plan({.keep = 2}).unknown, "Input/output error");
  EXPECT_THAT(newest.plan({.keep = 1}).deleted, ElementsAre(30, 20, 10)) << "what is superseded whatever it holds";
  Steps best({{40, whole(3)}, {30, whole(2)}, {20, unknown()}, {10, whole(4)}});
  EXPECT_THAT(best.plan({.keep = 2, .keep_best = 1}).deleted, IsEmpty());
}

TEST(Retention, KeepsTheBestStepThatCannotBeOpenedForNow) {
  const TemporaryDirectory run;
  const Path checkpoints = run.path() / "checkpoints";
  run_ranks(1, [&](Communicator& host) {
    const TestLayout layout({}, 0);
    TestState<float> state(layout.whole(), 0);
    const auto save = [&](int64_t step, double loss) {
      RunState about = test_run_state(step);
      about.valid_loss = loss;
      return CheckpointWriter(host, run.path(), {.keep = 2, .keep_best = 1})
          .save(about, layout.placements, state.view());
    };
    save(10, 9);
    save(20, 1);
    const Path shard = checkpoints / step_name(20) / shard_file_name(0, 1), moved = run.path() / "moved";
    std::filesystem::rename(shard, moved);
    const int socket =
        ::socket(AF_UNIX, SOCK_STREAM, 0);  // open() answers ENXIO: no word about the file that was there
    sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
    ASSERT_LT(shard.string().size(), sizeof address.sun_path);
    shard.string().copy(address.sun_path, sizeof address.sun_path);
    ASSERT_EQ(::bind(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    ::close(socket);
    for (const int64_t step : {30, 40, 50}) {
      const SaveResult result = save(step, 5);
      EXPECT_TRUE(result.committed);
      EXPECT_THAT(result.deleted, IsEmpty());
      EXPECT_THAT(result.message, HasSubstr("No such device or address"));
    }
    std::filesystem::remove(shard);
    std::filesystem::rename(moved, shard);
    EXPECT_THAT(save(60, 5).deleted, ElementsAre(HasSubstr("deleted step-00000040: 2 newer steps are whole"),
                                                 HasSubstr("step-00000030"), HasSubstr("step-00000010")));
  });
  EXPECT_THAT(steps_in(checkpoints), ElementsAre(60, 50, 20));
}

TEST(Retention, AJudgeOpensAStepOnceUnlessItsFolderChanged) {
  const TemporaryDirectory run;
  const Path step = run.path() / "checkpoints" / step_name(1), shard = step / shard_file_name(0, 1);
  run_ranks(1, [&](Communicator& host) { save_on<float>(host, {}, run.path(), 1); });
  StepJudge judge, told;
  EXPECT_EQ(judge.judge(step, Depth::kManifest).condition, StepCondition::kWhole);
  std::filesystem::resize_file(shard, 1000);
  told.remember(step, 2.5);
  EXPECT_EQ(told.judge(step, Depth::kFiles).condition, StepCondition::kWhole) << "a cut file is not opened";
  EXPECT_EQ(told.judge(step, Depth::kManifest).valid_loss, 2.5);
  EXPECT_EQ(judge.judge(step, Depth::kFiles).condition, StepCondition::kDamaged) << "only its manifest was read";
  std::filesystem::last_write_time(step, std::filesystem::file_time_type::clock::now() + std::chrono::hours(1));
  EXPECT_EQ(told.judge(step, Depth::kFiles).condition, StepCondition::kDamaged) << "a file came or went";
  EXPECT_EQ(told.judge(step, Depth::kManifest).condition, StepCondition::kWhole) << "nothing is remembered of it";
}

TEST(Retention, DeletesOldStepsOnDiskAndNothingOfAnotherName) {
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

TEST(Retention, DeletesWhatWasSetAsideOnceTheRunHasCaughtUpWithIt) {
  const TemporaryDirectory run;
  const Path checkpoints = run.path() / "checkpoints";
  const auto aside = [&] {
    std::vector<int64_t> steps;
    for (const SetAsideStep& step : list_set_aside(checkpoints)) steps.push_back(step.step);
    return steps;
  };
  run_ranks(1, [&](Communicator& host) {
    for (int64_t step = 1; step <= 4; ++step) save_on<float>(host, {}, run.path(), step);
    set_aside(checkpoints / step_name(4), kFoundDamaged);
    set_aside_newer(checkpoints, 2);
    EXPECT_THAT(aside(), ElementsAre(4, 3));
    save_on<float>(host, {}, run.path(), 3, {.keep = 2});
    EXPECT_THAT(aside(), ElementsAre(4, 3));
    EXPECT_THAT(save_on<float>(host, {}, run.path(), 4, {.keep = 2}).deleted,
                ElementsAre(HasSubstr("deleted step-00000002"), HasSubstr("deleted .old-step-00000003")));
    EXPECT_THAT(aside(), ElementsAre(4));
    EXPECT_THAT(save_on<float>(host, {}, run.path(), 5, {.keep = 2}).deleted,
                ElementsAre(HasSubstr("deleted step-00000003"), HasSubstr("deleted .bad-step-00000004")));
  });
  EXPECT_THAT(aside(), IsEmpty());
}

}  // namespace
}  // namespace retain::test
