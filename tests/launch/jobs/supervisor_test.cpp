#include "launch/jobs/supervisor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <filesystem>

#include "trainer/file.h"

namespace retain::test {
namespace {

using ::testing::ElementsAre;

/// A run directory and lives that are lines of bash in it.
struct BashRun {
  int supervise_lives(const std::string& script, int restarts = 3) const {
    return supervise({.directory = folder.path().string(),
                      .next_command = [&]() -> std::vector<std::string> {
                        return {"bash", "-c", "cd \"$0\"; echo >>lives; " + script, folder.path().string()};
                      },
                      .restarts = restarts,
                      .silence = silence});
  }
  int64_t lives() const {
    const std::string text = read_text(File::open(folder.path() / "lives"), 1000);
    return std::ssize(text);
  }
  TemporaryDirectory folder;
  std::chrono::seconds silence{90};
};

TEST(Supervisor, ExitCodesThatWouldComeAgainAreNotTriedAgain) {
  for (const int code : {64, 65, 66, 69, 71, 73, 74, 76, 78, 126, 127})
    EXPECT_EQ(verdict_of(code), Verdict::kWouldRepeat);
  for (const int code : {1, 9, 70, 134, 137, 139, 143, 205}) EXPECT_EQ(verdict_of(code), Verdict::kMayRecover);
  EXPECT_EQ(verdict_of(75), Verdict::kGoesOn);
  EXPECT_EQ(verdict_of(0), Verdict::kDone);
}

TEST(Supervisor, GivesUpAfterSoManyRestartsInARowWithoutANewCheckpoint) {
  RestartPolicy policy(2);
  const Life fruitless{.exit_code = 137}, fruitful{.exit_code = 137, .saved = true};
  EXPECT_TRUE(policy.goes_on_after(fruitless));
  EXPECT_TRUE(policy.goes_on_after(fruitless));
  EXPECT_TRUE(policy.goes_on_after(fruitful));
  EXPECT_TRUE(policy.goes_on_after(fruitless));
  EXPECT_FALSE(policy.goes_on_after(fruitless));
  EXPECT_FALSE(RestartPolicy(0).goes_on_after({.exit_code = 75}));
}

TEST(Supervisor, GoesOnAfterARequestButNotAfterTheFileStop) {
  EXPECT_TRUE(RestartPolicy(1).goes_on_after({.exit_code = 75, .saved = true}));
  EXPECT_FALSE(RestartPolicy(1).goes_on_after({.exit_code = 75, .saved = true, .stop_file = true}));
  const BashRun run;
  const std::string event = R"(echo '{"event":"stop","reason":"the file /r/STOP"}' >>events.jsonl; exit 75)";
  EXPECT_EQ(run.supervise_lives(event), 75);
  EXPECT_EQ(run.lives(), 1);
}

TEST(Supervisor, TellsTheLastThreeCauses) {
  RestartPolicy policy(9);
  for (const char* const cause : {"a", "b", "c", "d"}) policy.goes_on_after({.exit_code = 70, .cause = cause});
  EXPECT_THAT(policy.last_causes(), ElementsAre("start 2: b", "start 3: c", "start 4: d"));
}

TEST(Supervisor, StartsAgainUntilTheRunIsDone) {
  const BashRun run;
  EXPECT_EQ(run.supervise_lives("[ $(wc -l <lives) -lt 3 ] && kill -9 $$; exit 0"), 0);
  EXPECT_EQ(run.lives(), 3);
}

TEST(Supervisor, CountsOnlyRestartsWithoutANewCheckpoint) {
  const BashRun run;
  EXPECT_EQ(run.supervise_lives(
                "mkdir -p checkpoints; n=$(wc -l <lives); [ $n -gt 5 ] || echo $n >checkpoints/latest; exit 70", 2),
            70);
  EXPECT_EQ(run.lives(), 5 + 2);
  const BashRun refused;
  EXPECT_EQ(refused.supervise_lives("exit 78"), 78);
  EXPECT_EQ(refused.lives(), 1);
}

TEST(Supervisor, HandsSignalsOnAndStartsNothingAfterThem) {
  const BashRun run;
  // Each life asks its supervisor to end, once it can be asked itself.
  EXPECT_EQ(run.supervise_lives("trap 'exit 75' TERM; kill -TERM $PPID; sleep 60 >/dev/null 2>&1 & wait"), 75);
  EXPECT_EQ(run.lives(), 1);
  const BashRun saved;
  EXPECT_EQ(saved.supervise_lives(
                "trap 'echo >>saved' USR2; kill -USR2 $PPID; until [ -e saved ]; do sleep 0.01; done; exit 0"),
            0);
}

TEST(Supervisor, EndsALauncherThatOutlivesItsRun) {
  BashRun run;
  run.silence = std::chrono::seconds(1);
  EXPECT_EQ(run.supervise_lives("[ $(wc -l <lives) = 1 ] || exit 0; trap 'exit 143' TERM; sleep 0.3; touch LOCK; while "
                                ":; do sleep 0.1; done"),
            0);
  EXPECT_EQ(run.lives(), 2);
}

}  // namespace
}  // namespace retain::test
