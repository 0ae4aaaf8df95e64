// runs.csv keeps what is finished when its folder is gone, and what it has finished is not trained again.
#include "trainer/study/runs_csv.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "tests/trainer/study/small_study.h"
#include "trainer/file.h"
#include "trainer/study/queue.h"
#include "trainer/study/results.h"

namespace retain::test {
namespace {

using study::FinishedRow;
using study::MergedRuns;
using study::Plan;
using study::Progress;
using study::RunState;
using study::State;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

/// Two cells of one size; the first is done.
struct Folder {
  Folder() {
    plan = two_cells();
    progress.resize(2);
    progress[0] = done(20);
    progress[1] = {.step = 10, .eval_losses = {{"held", 4}}, .eval_step = 10, .seconds = 20};
    states = {{State::kDone, ""}, {State::kFailed, "exit 71: a, \"b\""}};
  }
  static Progress done(int64_t step) {
    return {.done = true,
            .step = step,
            .eval_losses = {{"held", 2.5}, {"web", 3.25}},
            .eval_step = step,
            .seconds = 40,
            .median_step_seconds = 2,
            .build = "0.1.0 (abc)",
            .device = "CPU, 1 thread"};
  }
  MergedRuns merged(const std::vector<FinishedRow>& before) const {
    return study::merge_runs(plan, progress, states, before);
  }
  /// The folder of a part that ended the second cell alone.
  Folder second() const {
    Folder other = *this;
    std::swap(other.progress[0], other.progress[1]);
    other.progress[1] = done(40);
    other.states = {{State::kPlanned, ""}, {State::kDone, ""}};
    return other;
  }
  Plan plan;
  std::vector<Progress> progress;
  std::vector<RunState> states;
};

std::vector<FinishedRow> read(const std::string& text) {
  const TemporaryDirectory folder;
  const std::string path = (folder.path() / "runs.csv").string();
  std::ofstream(path) << text;
  return study::read_runs_csv(path);
}

std::string complaint(const std::function<void()>& act) {
  try {
    act();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(StudyRunsCsv, ARowForEachCellAndSetAndLossesOfWhatIsDoneAlone) {
  const Folder r;
  const std::string text = r.merged({}).csv;
  std::istringstream in(text);
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  ASSERT_EQ(lines.size(), 5u);
  EXPECT_EQ(
      lines[0],
      "run_id,params,params_non_embedding,params_blocks,tokens,flops,flops_6nd,loss,eval_set,seed,schedule,lr,batch,"
      "status,step_seconds,tokens_per_second,device,build");
  EXPECT_THAT(lines[1], HasSubstr(",2.5,held,1,wsd,0.0006,1024,done,2,512,\"CPU, 1 thread\",0.1.0 (abc)"));
  EXPECT_THAT(lines[2], HasSubstr(",3.25,web,"));
  EXPECT_THAT(lines[3], HasSubstr(",,held,1,wsd,0.0006,1024,failed,,,,"));
}

TEST(StudyRunsCsv, APartAddsItsCellsToThoseThatWereFinishedBefore) {
  const Folder first;
  const std::string before = first.merged({}).csv;
  const std::vector<FinishedRow> rows = read(before);
  ASSERT_EQ(rows.size(), 2u);  // those that are not finished are the folder's matter
  const MergedRuns both = first.second().merged(rows);
  EXPECT_THAT(both.conflicts, IsEmpty());
  const std::vector<FinishedRow> all = read(both.csv);
  ASSERT_EQ(all.size(), 4u);
  EXPECT_EQ(all[0].fields, rows[0].fields);
  EXPECT_EQ(all[2].run_id, first.plan.runs[1].name);
  EXPECT_EQ(first.second().merged(all).csv, both.csv);  // to collect twice changes nothing
  EXPECT_EQ(first.merged(all).csv, both.csv);
}

TEST(StudyRunsCsv, RowsOfCellsThatThePlanLostStay) {
  Folder first;
  std::vector<FinishedRow> rows = read(first.merged({}).csv);
  for (FinishedRow& row : rows) row.run_id = row.fields[0] = "old-" + row.run_id;
  const std::vector<FinishedRow> all = read(first.merged(rows).csv);
  ASSERT_EQ(all.size(), 4u);
  EXPECT_EQ(all[3].run_id, "old-" + first.plan.runs[0].name);
}

TEST(StudyRunsCsv, AnotherBuildHasARowOfItsOwnAndTheSameWithAnotherLossIsAConflict) {
  const Folder first;
  const std::vector<FinishedRow> rows = read(first.merged({}).csv);
  Folder again = first;
  again.progress[0].build = "0.2.0 (def)";
  again.progress[0].eval_losses["held"] = 2.75;
  EXPECT_THAT(again.merged(rows).conflicts, IsEmpty());
  EXPECT_EQ(read(again.merged(rows).csv).size(), 4u);
  again.progress[0].build = first.progress[0].build;
  const MergedRuns merged = again.merged(rows);
  EXPECT_THAT(merged.conflicts,
              ElementsAre(first.plan.runs[0].name + " on held has the loss 2.5 there and 2.75 in the folder"));
  EXPECT_EQ(merged.csv, first.merged(rows).csv);  // the table's row stays
  again = first;
  again.plan.runs[0].lr = 0.5;
  EXPECT_THAT(again.merged(rows).conflicts.at(0), HasSubstr("on held was trained with lr 0.0006 instead of 0.5"));
}

TEST(StudyRunsCsv, FinishedCellsCountAsTrained) {
  const Folder first;
  std::vector<FinishedRow> rows = read(first.merged({}).csv);
  std::vector<Progress> progress(2);
  std::vector<RunState> states(2);
  study::take_finished(first.plan, rows, "runs.csv", progress, states);
  EXPECT_EQ(states[0].state, State::kDone);
  EXPECT_EQ(states[0].reason, "a row of runs.csv");
  EXPECT_EQ(progress[0].eval_losses.at("web"), 3.25);
  EXPECT_EQ(states[1].state, State::kPlanned);
  const study::Totals totals = totals_of(first.plan, progress, states);
  EXPECT_EQ(totals.count(State::kDone), 1);
  EXPECT_DOUBLE_EQ(totals.left_seconds, first.plan.runs[1].seconds);

  for (FinishedRow& row : rows) row.status = row.fields[13] = "diverged";
  states.assign(2, {});
  study::take_finished(first.plan, rows, "runs.csv", progress, states);
  EXPECT_EQ(states[0].state, State::kDiverged);

  rows.pop_back();  // of one evaluation set alone
  states.assign(2, {});
  study::take_finished(first.plan, rows, "runs.csv", progress, states);
  EXPECT_EQ(states[0].state, State::kPlanned);
}

TEST(StudyRunsCsv, ATableOfAnotherStudyIsRefusedByCellAndColumn) {
  Folder first;
  const std::vector<FinishedRow> rows = read(first.merged({}).csv);
  first.plan.runs[0].batch_tokens = 2048;
  std::vector<Progress> progress(2);
  std::vector<RunState> states(2);
  EXPECT_THAT(complaint([&] { study::take_finished(first.plan, rows, "runs.csv", progress, states); }),
              HasSubstr(first.plan.runs[0].name + " was trained with batch 1024 instead of 2048"));
  EXPECT_THAT(complaint([] { read("params,tokens,loss\n1,2,3\n"); }),
              HasSubstr("runs.csv:1:1: this is no table of `retain study collect`"));
}

// A leg that only finished cells start from is not trained again; one on the way to a cell that is lacking is.
TEST(StudyRunsCsv, LegsOfFinishedBranchesAreNotNeeded) {
  study::Study s = small_study();
  s.decay_branches = true;
  s.sizes.resize(1);
  std::vector<std::string> doubts;
  const Plan plan = study::make_plan(s, study::make_runs(s, doubts), {});  // leg, its branch, leg, its branch
  std::vector<RunState> states(4);
  states[3].state = State::kDone;
  EXPECT_THAT(needed_runs(plan, states), ElementsAre(true, true, false, false));
  const std::vector<Progress> progress(4);
  EXPECT_DOUBLE_EQ(totals_of(plan, progress, states).left_seconds, plan.runs[0].seconds + plan.runs[1].seconds);
  states = std::vector<RunState>(4);
  states[1].state = State::kDone;
  EXPECT_THAT(needed_runs(plan, states), ElementsAre(true, false, true, true));
  states[2].state = State::kDone;
  EXPECT_THAT(needed_runs(plan, states), ElementsAre(false, false, false, true));
  study::Queue queue(plan, states, {});
  EXPECT_EQ(queue.next(), 3u);
}

}  // namespace
}  // namespace retain::test
