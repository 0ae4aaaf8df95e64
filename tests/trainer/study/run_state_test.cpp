// How a run's directory is read, and what follows for it and for what starts from it.
#include "trainer/study/run_state.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <limits>

#include "tests/trainer/study/small_study.h"
#include "trainer/checkpoint/lock.h"

namespace retain::test {
namespace {

using study::judge;
using study::Progress;
using study::RunState;
using study::State;
using ::testing::HasSubstr;

class RunFolder {
 public:
  void write(const std::string& name, const std::string& text) const { std::ofstream(folder_.path() / name) << text; }
  Progress read() const { return study::read_progress(folder_.path().string()); }
  RunState state() const {
    const Progress progress = read();
    return judge(progress, progress.first_loss);
  }
  const Path& path() const { return folder_.path(); }

 private:
  TemporaryDirectory folder_;
};

std::string step(int64_t number, const std::string& loss, double seconds = 0.5, int start = 1) {
  return concat("{\"step\":", number, ",\"tokens\":1,\"loss\":", loss, ",\"step_seconds\":", seconds,
                ",\"start\":", start, "}\n");
}

const std::string kValidated = "{\"step\":3,\"valid/held/loss\":2.5,\"valid/web/loss\":3.5,\"start\":1}\n";

TEST(StudyRunState, AFolderWithNothingInItIsPlanned) {
  const RunFolder run;
  EXPECT_EQ(run.state().state, State::kPlanned);
  EXPECT_EQ(run.read().step, 0);
  EXPECT_EQ(study::read_progress("/nowhere/at/all").step, 0);
}

TEST(StudyRunState, ADoneRunHasItsLossesAndTimes) {
  const RunFolder run;
  run.write("metrics.jsonl", step(1, "5.5", 9) + step(2, "4.0", 0.2) + step(3, "3.0", 0.4) + kValidated);
  run.write("environment.json", R"({"version":"0.1.0","commit":"abc","device":"CPU, 1 thread"})");
  run.write("DONE", "");
  const Progress progress = run.read();
  EXPECT_EQ(run.state().state, State::kDone);
  EXPECT_EQ(progress.eval_losses, (std::map<std::string, double>{{"held", 2.5}, {"web", 3.5}}));
  EXPECT_EQ(progress.eval_step, 3);
  EXPECT_EQ(progress.first_loss, 5.5);
  EXPECT_DOUBLE_EQ(progress.seconds, 9.6);
  EXPECT_DOUBLE_EQ(progress.median_step_seconds, 0.4);  // the first step of a start is no measure
  EXPECT_EQ(progress.build, "0.1.0 (abc)");
}

TEST(StudyRunState, StepsThatWereDoneAgainCountOnceAndCostTwice) {
  const RunFolder run;
  run.write("metrics.jsonl", step(1, "5") + step(2, "9") + "{\"step\":1,\"resume\":true,\"start\":2}\n" +
                                 step(2, "4", 0.5, 2) + "{\"step\":3,\"tok");  // killed while it wrote
  const Progress progress = run.read();
  EXPECT_EQ(progress.step, 2);
  EXPECT_DOUBLE_EQ(progress.last_loss, 5);  // the upper median of 5 and 4
  EXPECT_DOUBLE_EQ(progress.seconds, 1.5);
  EXPECT_EQ(run.state().state, State::kPlanned);  // it goes on
}

TEST(StudyRunState, ALossAboveItsStartOrNotFiniteIsDiverged) {
  for (const char* const last : {"5.6", "null"}) {
    const RunFolder run;
    run.write("metrics.jsonl", step(1, "5.5") + step(2, last) + step(3, last) + kValidated);
    run.write("DONE", "");
    EXPECT_EQ(run.state().state, State::kDiverged) << last;
  }
  const RunFolder run;
  run.write("metrics.jsonl", step(1, "5.5") + step(2, "4") + "{\"step\":2,\"valid/held/loss\":null}\n");
  run.write("DONE", "");
  EXPECT_THAT(run.state().reason, HasSubstr("its loss on held is not finite"));
}

TEST(StudyRunState, AnErrorIsAFailureAndCode76IsDiverged) {
  const RunFolder run;
  run.write("events.jsonl", "{\"event\":\"start\"}\n{\"event\":\"error\",\"code\":\"71\"}\n");
  run.write("FAILED", "retain: out of memory\n");
  EXPECT_EQ(run.state().state, State::kFailed);
  EXPECT_EQ(run.state().reason, "exit 71: retain: out of memory");
  run.write("events.jsonl", "{\"event\":\"error\",\"code\":\"76\"}\n");
  EXPECT_EQ(run.state().state, State::kDiverged);
}

// A start that is refused leaves no mark of its own, and one that is killed no word.
TEST(StudyRunState, WhatTheQueueSawCountsWhereTheRunSaidNothing) {
  const RunFolder run;
  run.write(study::kEndingFile, study::ending_json({.exit_code = 66, .reason = "no \"data\""}));
  EXPECT_EQ(run.state().state, State::kFailed);
  EXPECT_EQ(run.state().reason, "exit 66: no \"data\"");
  run.write(study::kEndingFile, study::ending_json({.exit_code = 76, .reason = "diverged"}));
  EXPECT_EQ(run.state().state, State::kDiverged);
}

TEST(StudyRunState, ARunWhoseLockIsHeldIsRunning) {
  const RunFolder run;
  {
    const RunLock lock(run.path());
    EXPECT_EQ(run.state().state, State::kRunning);
  }
  EXPECT_EQ(run.state().state, State::kPlanned);
}

TEST(StudyRunState, WhatStartsFromADivergedRunDivergedToo) {
  study::Study s = small_study();
  s.decay_branches = true;
  s.sizes.resize(1);
  std::vector<std::string> doubts;
  const study::Plan plan = study::make_plan(s, study::make_runs(s, doubts), {});
  std::vector<Progress> progress(plan.runs.size());
  progress[0] = {.done = true, .first_loss = 5.5, .last_loss = 3};  // leg16
  progress[1] = {.done = true, .first_loss = 3, .last_loss = 3.1};  // its branch: above its own first step, below 5.5
  progress[2].ending = study::Ending{.exit_code = 76, .reason = "numbers"};
  auto states = study::states_of(plan, progress);
  EXPECT_EQ(states[0].state, State::kDone);
  EXPECT_EQ(states[1].state, State::kDone);
  EXPECT_EQ(states[2].state, State::kDiverged);
  EXPECT_EQ(states[3].state, State::kDiverged);
  EXPECT_EQ(states[3].reason, "it starts from S-s1-leg32, which diverged");
  progress[2].ending->exit_code = 71;
  states = study::states_of(plan, progress);
  EXPECT_EQ(states[3].state, State::kPlanned);
  EXPECT_EQ(states[3].reason, "it starts from S-s1-leg32, which failed");
}

}  // namespace
}  // namespace retain::test
