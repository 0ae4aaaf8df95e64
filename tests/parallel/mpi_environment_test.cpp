// What the launcher sees of a rank that fails, and what a rank knows of its place. The cases start mpirun on the
// program mpi_exit_program, because a process can end only once.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <string>

#include "kernels/core/error.h"
#include "tests/support/shell.h"

namespace retain {
namespace {

using ::testing::HasSubstr;

ShellResult mpirun(int ranks, const std::string& mode) {
  return shell(concat("timeout 60 " RETAIN_MPIEXEC " -n ", ranks, " --oversubscribe --bind-to none ",
                      RETAIN_MPI_EXIT_PROGRAM " ", mode, " 2>&1"));
}

TEST(MpiEnvironment, RanksKnowTheirPlace) {
  const ShellResult outcome = mpirun(3, "place");
  EXPECT_EQ(outcome.exit_code, 0) << outcome.output;
  for (int r = 0; r < 3; ++r) EXPECT_THAT(outcome.output, HasSubstr(concat("world ", r, "/3 local ", r, "/3 on ")));
  EXPECT_THAT(outcome.output, HasSubstr("launched 1"));
}

TEST(MpiEnvironment, AbortPassesItsCodeToTheLauncher) { EXPECT_EQ(mpirun(2, "abort").exit_code, 76); }

TEST(MpiEnvironment, AnExceptionOfOneRankEndsAllWithItsCodeInsteadOfHanging) {
  const ShellResult outcome = mpirun(3, "throw");
  EXPECT_EQ(outcome.exit_code, 65) << outcome.output;
  EXPECT_THAT(outcome.output, HasSubstr("rank 1: shard 7 is damaged"));
}

TEST(MpiEnvironment, AFailedCallThrowsItsTextAndMpisMessage) {
  const ShellResult outcome = mpirun(2, "truncate");
  EXPECT_EQ(outcome.exit_code, 69) << outcome.output;
  EXPECT_THAT(outcome.output, HasSubstr("MPI_Test("));
  EXPECT_THAT(outcome.output, HasSubstr("MPI_ERR_TRUNCATE"));
}

}  // namespace
}  // namespace retain
