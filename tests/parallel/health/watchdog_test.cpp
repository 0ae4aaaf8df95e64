// What becomes of ranks that hang. The cases start mpirun on the program hang_program, because a process can end only
// once.
#include "parallel/health/watchdog.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <string>

#include "kernels/core/error.h"
#include "tests/support/shell.h"

namespace retain {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;

ShellResult mpirun(int ranks, const std::string& mode, const std::string& options = "") {
  return shell(concat("timeout 90 " RETAIN_MPIEXEC " ", options, " -n ", ranks,
                      " --oversubscribe --bind-to none " RETAIN_HANG_PROGRAM, " ", mode, " 2>&1"));
}

TEST(Watchdog, NamesARankThatComputesWithoutEndOnEveryRankWithItsPhaseAndLayer) {
  const ShellResult outcome = mpirun(6, "spin");  // two levels of the tree
  EXPECT_EQ(outcome.exit_code, 70) << outcome.output;
  for (int rank = 0; rank < 6; ++rank) {
    EXPECT_THAT(outcome.output,
                ContainsRegex(concat("retain: rank ", rank,
                                     " .*: rank 1 on .* \\(pid [0-9]+\\) hangs: no progress for [0-9.]+ s "
                                     "in step 12, loss and backward, layer 7, [0-9]+ collectives done")));
  }
  EXPECT_THAT(outcome.output,
              ContainsRegex("  rank 3 is in .*waiting in barrier, [0-9]+ collectives done; its threads:"));
  EXPECT_THAT(outcome.output, ContainsRegex("  thread [0-9]+ \\(hang_program\\):\n.*hang_program"));
}

TEST(Watchdog, EndsAProcessAlone) {
  const ShellResult outcome = shell("timeout 60 " RETAIN_HANG_PROGRAM " spin 2>&1");
  EXPECT_EQ(outcome.exit_code, 70) << outcome.output;
  EXPECT_THAT(outcome.output, ContainsRegex("retain: rank 0 on .* hangs: no progress"));
}

TEST(Watchdog, FindsRanksThatWaitForEachOther) {
  const ShellResult outcome = mpirun(3, "crossed");
  EXPECT_EQ(outcome.exit_code, 70) << outcome.output;
  EXPECT_THAT(outcome.output, ContainsRegex("retain: rank 2 .*: all 3 ranks have waited for each other for [0-9.]+ s"));
  EXPECT_THAT(outcome.output, ContainsRegex("furthest behind is rank [01] on"));
}

TEST(Watchdog, AsksForTheHealthOfARankThatDoesNotWait) {
  const ShellResult outcome = mpirun(3, "question");
  EXPECT_EQ(outcome.exit_code, 69) << outcome.output;
  EXPECT_THAT(outcome.output, ContainsRegex("retain: rank 0 .*: rank 1 on .*: GPU 3 has fallen off the bus"));
}

TEST(Watchdog, NamesARankThatDiedWhereTheLauncherEndsNobody) {
  const ShellResult outcome = mpirun(3, "killed", "--enable-recovery");
  for (const int rank : {0, 2})
    EXPECT_THAT(outcome.output, ContainsRegex(concat("retain: rank ", rank, " .*: rank 1 on .* is dead")));
}

TEST(Watchdog, WaitsForWorkThatMayTakeLong) {
  const ShellResult outcome = mpirun(3, "slow");
  EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
  EXPECT_THAT(outcome.output, Not(HasSubstr("retain:")));
}

#ifdef RETAIN_DEVICE_HANG_PROGRAM
/// With a GPU for each rank; 77 where there are not enough.
ShellResult on_gpus(int ranks, const std::string& mode) {
  if (ranks == 1) return shell(concat("timeout 60 " RETAIN_DEVICE_HANG_PROGRAM " ", mode, " 2>&1"));
  return shell(concat("timeout 90 " RETAIN_MPIEXEC " -n ", ranks,
                      " --oversubscribe --bind-to none " RETAIN_DEVICE_HANG_PROGRAM " ", mode, " 2>&1"));
}

TEST(DeviceWatchdog, EndsAKernelThatNeverEndsAndSaysWhereTheDeviceIs) {
  const ShellResult outcome = on_gpus(1, "endless");
  if (outcome.exit_code == 77) GTEST_SKIP() << "no GPU";
  EXPECT_EQ(outcome.exit_code, 70) << outcome.output;
  EXPECT_THAT(outcome.output, ContainsRegex("rank 0 on .*GPU 0\\) hangs: no progress for [0-9.]+ s in step 12"));
  EXPECT_THAT(outcome.output, HasSubstr("(its GPU in forward, layer 5)"));
}

TEST(DeviceWatchdog, AnIllegalAccessNamesDevicePhaseAndLayer) {
  const ShellResult outcome = on_gpus(1, "illegal");
  if (outcome.exit_code == 77) GTEST_SKIP() << "no GPU";
  EXPECT_EQ(outcome.exit_code, 69) << outcome.output;
  EXPECT_THAT(outcome.output, ContainsRegex("GPU 0.* forward, layer 5, of step 12.*cudaErrorIllegalAddress"));
}

TEST(DeviceWatchdog, NamesTheRankWhoseDeviceHangsAndNotThoseThatWaitForIt) {
  for (const char* const mode : {"peer", "queue"}) {
    const ShellResult outcome = on_gpus(2, mode);
    if (outcome.exit_code == 77) GTEST_SKIP() << "2 GPUs are needed";
    EXPECT_EQ(outcome.exit_code, 70) << outcome.output;
    for (const int rank : {0, 1})
      EXPECT_THAT(outcome.output, ContainsRegex(concat("retain: rank ", rank, " .*: rank 1 on .*GPU 1\\) hangs")));
  }
}

TEST(DeviceWatchdog, NamesARankThatIsStoppedInACollective) {
  const ShellResult outcome = on_gpus(2, "stopped");
  if (outcome.exit_code == 77) GTEST_SKIP() << "2 GPUs are needed";
  EXPECT_EQ(outcome.exit_code, 70) << outcome.output;
  EXPECT_THAT(outcome.output, ContainsRegex("retain: rank 0 .*: rank 1 on .*GPU 1\\) gives no sign of life"));
}
#endif

}  // namespace
}  // namespace retain
