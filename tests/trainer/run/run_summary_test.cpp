#include "trainer/run/run_summary.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>

#include "trainer/file.h"
#include "trainer/run/log.h"

namespace retain::test {
namespace {

using ::testing::HasSubstr;
using ::testing::MatchesRegex;

TEST(DescribeRequests, GroupsTheRanksThatWereAskedAlike) {
  EXPECT_EQ(describe_requests({"SIGINT"}), "SIGINT");
  EXPECT_EQ(describe_requests({"", "SIGUSR1"}), "SIGUSR1 (rank 1)");
  EXPECT_EQ(describe_requests({"the file run/STOP", "SIGTERM", "", "SIGTERM"}),
            "the file run/STOP (rank 0); SIGTERM (ranks 1, 3)");
  EXPECT_EQ(describe_requests(std::vector<std::string>(512, "SIGTERM")),
            "SIGTERM (ranks 0, 1, 2, 3, 4, 5, 6, 7 and 504 more)");
  EXPECT_EQ(describe_requests({"", ""}), "");
}

TEST(RunSummary, SaysWhatThereIs) {
  EXPECT_EQ(describe(RunSummary{.steps = 400}),
            "0 of 400 steps, 0 tokens; 0 steps in 0.0 s by this start; no checkpoint");
  EXPECT_EQ(describe(RunSummary{.step = 120,
                                .steps = 400,
                                .tokens = 30720,
                                .steps_of_start = 20,
                                .seconds = 3.14,
                                .best = RunSummary::Best{2.34, 118},
                                .best_valid = RunSummary::Best{2.5, 100},
                                .checkpoint = "run/checkpoints/step-00000120"}),
            "120 of 400 steps, 30720 tokens; 20 steps in 3.1 s by this start; best loss 2.3400 at step 118; best "
            "validation loss 2.5000 at step 100; newest checkpoint run/checkpoints/step-00000120");
}

std::string text_of(const Path& path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), {}};
}

TEST(RunSummary, StandsInTheLogAndTheEventsWhicheverRankEndsTheRun) {
  const TemporaryDirectory directory;
  {
    Log log({.world_rank = 3, .host = "n3", .directory = directory.path().string(), .held = true});
    tell_end(log, RunSummary{.step = 7, .steps = 9},
             {.kind = "error", .reason = "shard 7 is damaged", .exit_code = 65, .world_rank = 3, .host = "n3"});
  }
  EXPECT_THAT(
      text_of(directory.path() / "log.txt"),
      MatchesRegex("[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3} [+-][0-9]{4} error: ended with "
                   "exit code 65: shard 7 is damaged; 7 of 9 steps.*\n"));
  const std::string events = text_of(directory.path() / "events.jsonl");
  for (const char* const part : {R"("step":7,"event":"error")", R"("code":"65")", R"("rank":"3")", R"("host":"n3")",
                                 R"("reason":"shard 7 is damaged")"})
    EXPECT_THAT(events, HasSubstr(part));
}

}  // namespace
}  // namespace retain::test
