// Exit codes and messages of the program's frame, alone and under mpirun (with the program launch_mpi_program).
#include "launch/program.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <iostream>
#include <new>

#include "kernels/core/error.h"
#include "launch/config/reader.h"
#include "parallel/mpi/launch.h"

namespace retain {
namespace {

using ::testing::HasSubstr;
using ::testing::MatchesRegex;
using ::testing::Not;
using ::testing::StartsWith;

struct Outcome {
  int code = 0;
  std::string out, err;
};

Outcome run(const std::vector<std::string>& arguments, const CommandRunner& runner, const Launch& launch = {}) {
  ::testing::internal::CaptureStdout();
  ::testing::internal::CaptureStderr();
  Outcome outcome;
  outcome.code = run_program(arguments, runner, launch);
  outcome.out = ::testing::internal::GetCapturedStdout();
  outcome.err = ::testing::internal::GetCapturedStderr();
  return outcome;
}

template <class Exception>
CommandRunner thrower(const Exception& exception) {
  return [=](const Command&, const MpiEnvironment*) -> int { throw exception; };
}

const std::vector<std::string> kPlan = {"plan", "a.yaml"};

TEST(Program, AVerbThatEndsWellReturnsItsCode) {
  const Outcome outcome = run(kPlan, [](const Command& command, const MpiEnvironment* mpi) {
    EXPECT_EQ(std::get<PlanOptions>(command).config, "a.yaml");
    EXPECT_EQ(mpi, nullptr);
    std::cout << "result\n";
    return 75;
  });
  EXPECT_EQ(outcome.code, 75);
  EXPECT_EQ(outcome.out, "result\n");
  EXPECT_EQ(outcome.err, "");
}

TEST(Program, HelpAndVersionGoToStdoutAndRunNothing) {
  for (const char* option : {"--help", "--version"}) {
    const Outcome outcome = run({"plan", option}, thrower(std::runtime_error("ran")));
    EXPECT_EQ(outcome.code, 0);
    EXPECT_THAT(outcome.out, HasSubstr("retain"));
    EXPECT_EQ(outcome.err, "");
  }
}

TEST(Program, AnUnknownVerbEndsWith64AndRunsNothing) {
  const Outcome outcome = run({"trian"}, thrower(std::runtime_error("ran")));
  EXPECT_EQ(outcome.code, 64);
  EXPECT_EQ(outcome.out, "");
  EXPECT_THAT(outcome.err, HasSubstr("retain: no verb 'trian' (did you mean 'train'?)\nverbs:\n  train "));
}

TEST(Program, EveryKindOfErrorHasItsExitCode) {
  for (ErrorKind kind :
       {ErrorKind::kUsage, ErrorKind::kData, ErrorKind::kMissingInput, ErrorKind::kDevice, ErrorKind::kInternal,
        ErrorKind::kOutOfMemory, ErrorKind::kCannotCreate, ErrorKind::kIo, ErrorKind::kDiverged, ErrorKind::kConfig}) {
    const Outcome outcome = run(kPlan, thrower(Error(kind, "what happened")));
    EXPECT_EQ(outcome.code, static_cast<int>(kind));
    EXPECT_EQ(outcome.err, "retain: what happened\n");
    EXPECT_EQ(outcome.out, "");
  }
  EXPECT_EQ(run(kPlan, thrower(std::bad_alloc())).code, 71);
  EXPECT_EQ(run(kPlan, thrower(std::runtime_error("x"))).code, 70);
}

TEST(Program, ConfigurationErrorsBeginTheirLineWithTheFile) {
  EXPECT_EQ(run(kPlan, thrower(ConfigError(ErrorKind::kConfig, "run.yaml:1:1: wrong"))).err, "run.yaml:1:1: wrong\n");
  const Outcome missing = run(kPlan, thrower(ConfigError(ErrorKind::kMissingInput, "cannot read 'x'")));
  EXPECT_EQ(missing.err, "retain: cannot read 'x'\n");
  EXPECT_EQ(missing.code, 66);
}

// Whatever a launch of several would do in each process is refused before it begins.
TEST(Program, CopiesAreRefused) {
  const Launch split{.launcher = "srun", .ranks = 4, .remedy = "use --mpi=pmix"};
  const Launch whole{.launcher = "srun", .ranks = 4, .in_mpi = true};
  for (const std::vector<std::string>& verb : {kPlan, {"train", "a.yaml"}, {"eval", "run", "--data", "a=b"}}) {
    const Outcome outcome = run(verb, thrower(std::runtime_error("ran")), split);
    EXPECT_EQ(outcome.code, 69) << verb.front();
    EXPECT_THAT(outcome.err, StartsWith("retain: srun started 4 processes")) << verb.front();
    EXPECT_THAT(outcome.err, HasSubstr("use --mpi=pmix"));
  }
  const std::vector<std::vector<std::string>> of_one_process = {{"checkpoint", "list", "run"},
                                                                {"generate", "run", "--prompt", "x"}};
  for (const std::vector<std::string>& verb : of_one_process) {
    const Outcome outcome = run(verb, thrower(std::runtime_error("ran")), whole);
    EXPECT_EQ(outcome.code, 64) << verb.front();
    EXPECT_THAT(outcome.err, HasSubstr("works in one process, and srun started 4")) << verb.front();
  }
  EXPECT_EQ(run({"train", "--help"}, thrower(std::runtime_error("ran")), split).code, 0);
}

Outcome shell(const std::string& command) {
  Outcome outcome;
  std::FILE* pipe = popen(("timeout 60 " + command + " 2>&1").c_str(), "r");
  std::array<char, 512> text{};
  while (pipe && std::fgets(text.data(), text.size(), pipe)) outcome.out += text.data();
  const int status = pipe ? pclose(pipe) : -1;
  outcome.code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return outcome;
}

TEST(Program, AResultThatCannotBeWrittenEndsWith74) {
  EXPECT_EQ(shell(RETAIN_MPI_PROGRAM " --help > /dev/full").code, 74);
}

int64_t count(const std::string& text, const std::string& part) {
  int64_t n = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++n;
  return n;
}

Outcome mpirun(const std::string& config) {
  return shell(RETAIN_MPIEXEC " -n 3 --oversubscribe --bind-to none " RETAIN_MPI_PROGRAM " train " + config);
}

TEST(ProgramUnderMpi, AnErrorOfTheConfigurationIsPrintedOnceAndReturnedByAll) {
  const Outcome outcome = mpirun("config");
  EXPECT_EQ(outcome.code, 78) << outcome.out;
  EXPECT_THAT(outcome.out, StartsWith("run.yaml:1:1: wrong\n"));
  EXPECT_EQ(count(outcome.out, "wrong"), 1) << outcome.out;
  EXPECT_THAT(outcome.out, Not(HasSubstr("MPI_ABORT")));
}

// Nothing else is printed, by Open MPI either: its words would bury ours.
TEST(ProgramUnderMpi, AnErrorOfOneRankNamesItAndEndsAllThatWaitForIt) {
  for (const char* const mode : {"one", "saving"}) {
    const Outcome outcome = mpirun(mode);
    EXPECT_EQ(outcome.code, 65) << mode;
    EXPECT_THAT(outcome.out, MatchesRegex("retain: rank 1 [^ ]*: shard 7 is damaged\n")) << mode;
  }
}

TEST(ProgramUnderMpi, AnErrorOfAllRanksIsSaidByOneWhoeverTheyWouldHaveToWaitFor) {
  const Outcome outcome = mpirun("all");
  EXPECT_EQ(outcome.code, 65);
  EXPECT_EQ(outcome.out, "retain: shard 7 is damaged\n");
}

// Also where rank 0 writes the reason down on a disk that hangs.
TEST(ProgramUnderMpi, ErrorsThatAreAlikeByChanceAreSaidOnce) {
  for (const char* const mode : {"alike", "sick"}) {
    const Outcome outcome = mpirun(mode);
    EXPECT_EQ(outcome.code, 65) << mode;
    EXPECT_THAT(outcome.out, MatchesRegex("retain: rank 0 [^ ]*: shard 7 is damaged\n")) << mode;
  }
}

TEST(ProgramUnderMpi, WrongUsageAndHelpAreSaidOnce) {
  for (const char* const arguments : {"none --bogus", "--help"}) {
    const Outcome alone = shell(concat(RETAIN_MPI_PROGRAM " train ", arguments)), several = mpirun(arguments);
    EXPECT_EQ(several.code, alone.code) << arguments;
    EXPECT_EQ(count(several.out, alone.out), 1) << several.out;
    const std::string first_line = alone.out.substr(0, alone.out.find('\n'));
    EXPECT_EQ(count(several.out, first_line), 1) << several.out;
  }
}

TEST(ProgramUnderMpi, WhoSeesThatAnotherRankIsGoneLeavesItTheWord) {
  const Outcome outcome = mpirun("peers");
  EXPECT_EQ(outcome.code, 65);
  EXPECT_THAT(outcome.out, MatchesRegex("retain: rank 1 [^ ]*: shard 7 is damaged\n"));
}

TEST(ProgramUnderMpi, RanksThatEndWellEndWith0) { EXPECT_EQ(mpirun("none").code, 0); }

}  // namespace
}  // namespace retain
