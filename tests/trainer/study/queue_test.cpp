#include "trainer/study/queue.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/trainer/study/small_study.h"

namespace retain::test {
namespace {

using study::Plan;
using study::Queue;
using study::RunState;
using study::State;
using ::testing::ElementsAre;

/// leg16, its branch, leg32, its branch, and the same of the other size.
Plan plan() {
  study::Study s = small_study();
  s.decay_branches = true;
  std::vector<std::string> doubts;
  return study::make_plan(s, study::make_runs(s, doubts), {});
}

std::vector<RunState> states(const std::vector<State>& given) {
  std::vector<RunState> all(8);
  for (size_t i = 0; i < given.size(); ++i) all[i].state = given[i];
  return all;
}

TEST(StudyQueue, ALegComesBeforeWhatStartsFromIt) {
  const Plan p = plan();
  Queue queue(p, states({}), {});
  EXPECT_EQ(queue.next(), 0u);
  queue.started(0);
  EXPECT_EQ(queue.next(), 4u);  // the other size's first leg
  queue.started(4);
  EXPECT_EQ(queue.next(), std::nullopt);
  EXPECT_FALSE(queue.over());
  queue.ended(0);
  queue.update(states({State::kDone}));
  EXPECT_EQ(queue.next(), 1u);
  queue.started(1);
  EXPECT_EQ(queue.next(), 2u);
  EXPECT_EQ(queue.running_here(), 2u);
}

TEST(StudyQueue, WhatFailsIsTriedOncePerQueueAndTheOthersGoOn) {
  const Plan p = plan();
  Queue queue(p, states({State::kFailed}), {});
  EXPECT_EQ(queue.next(), 0u);  // that an earlier one failed with it
  queue.started(0);
  queue.ended(0);
  EXPECT_EQ(queue.next(), 4u);
  Queue diverged(p, states({State::kDiverged, State::kDiverged, State::kDiverged, State::kDiverged}), {});
  EXPECT_EQ(diverged.next(), 4u);
}

TEST(StudyQueue, OnlyTakesWhatARunStartsFromWithIt) {
  const Plan p = plan();
  const Queue queue(p, states({}), {"S-d41k-s1"});
  std::vector<std::string> wanted;
  for (size_t i = 0; i < p.runs.size(); ++i)
    if (queue.wants(i)) wanted.push_back(p.runs[i].name);
  EXPECT_THAT(wanted, ElementsAre("S-s1-leg16", "S-s1-leg32", "S-d41k-s1"));
  EXPECT_THROW(Queue(p, states({}), {"S"}), Error);
}

TEST(StudyQueue, RunsOfOtherProcessesAreWaitedFor) {
  const Plan p = plan();
  Queue queue(p, states({State::kRunning}), {"S-d20.5k-s1"});
  EXPECT_EQ(queue.next(), std::nullopt);
  EXPECT_THAT(queue.elsewhere(), ElementsAre(0u));
  EXPECT_FALSE(queue.over());
  queue.update(states({State::kDone}));
  EXPECT_EQ(queue.next(), 1u);
  queue.update(states({State::kDone, State::kDone}));
  EXPECT_TRUE(queue.over());
}

// Of a leg the way on to the nearest cell counts too, for a leg alone is no result.
TEST(StudyQueue, TimeToAResultIsThatOfTheShortestWayToACell) {
  const Plan p = plan();
  std::vector<study::Progress> progress(8);
  const auto seconds = [&](size_t run) { return p.runs[run].seconds; };
  EXPECT_DOUBLE_EQ(seconds_to_result(p, progress, states({}), 0), seconds(0) + seconds(1));
  EXPECT_DOUBLE_EQ(seconds_to_result(p, progress, states({}), 1), seconds(1));
  const auto branch_done = states({State::kDone, State::kDone});
  EXPECT_DOUBLE_EQ(seconds_to_result(p, progress, branch_done, 2), seconds(2) + seconds(3));
  progress[2].step = (p.runs[2].first_step + p.runs[2].steps) / 2;
  EXPECT_DOUBLE_EQ(seconds_to_result(p, progress, branch_done, 2), seconds(2) / 2 + seconds(3));
}

TEST(StudyQueue, NextTakesTheFirstThatIsWished) {
  const Plan p = plan();
  const Queue queue(p, states({}), {});
  EXPECT_EQ(queue.next([](size_t run) { return run > 0; }), 4u);
  EXPECT_EQ(queue.next([](size_t) { return false; }), std::nullopt);
}

TEST(StudyQueue, ChainsNeedNothingOfEachOther) {
  const auto chains = study::chains_of(plan());
  ASSERT_EQ(chains.size(), 2u);
  EXPECT_THAT(chains[0], ElementsAre("S-s1-leg16", "S-d20.5k-s1", "S-s1-leg32", "S-d41k-s1"));
}

}  // namespace
}  // namespace retain::test
