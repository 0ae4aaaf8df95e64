#include "trainer/study/results.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/trainer/study/small_study.h"

namespace retain::test {
namespace {

using study::Plan;
using study::Progress;
using study::RunState;
using study::State;
using ::testing::HasSubstr;

struct Results {
  Results() {
    plan = two_cells();
    progress.resize(2);
    progress[0] = {.done = true,
                   .step = 20,
                   .eval_losses = {{"held", 2.5}, {"web", 3.25}},
                   .eval_step = 20,
                   .seconds = 40,
                   .median_step_seconds = 2,
                   .build = "0.1.0 (abc)",
                   .device = "CPU, 1 thread"};
    progress[1] = {.step = 10, .eval_losses = {{"held", 4}}, .eval_step = 10, .seconds = 20};
    states = {{State::kDone, ""}, {State::kFailed, "exit 71: a, \"b\""}};
  }
  Plan plan;
  std::vector<Progress> progress;
  std::vector<RunState> states;
};

TEST(StudyResults, TotalsAreCorrectedByWhatWasMeasured) {
  const Results r;
  const study::Totals totals = totals_of(r.plan, r.progress, r.states);
  EXPECT_EQ(totals.count(State::kDone), 1);
  EXPECT_EQ(totals.count(State::kFailed), 1);
  EXPECT_DOUBLE_EQ(totals.spent_gpu_hours, 60 / 3600.0);
  const double slower = 40 / r.plan.runs[0].seconds;
  EXPECT_NEAR(totals.left_seconds, r.plan.runs[1].seconds * (40 - 10) / 40 * slower, 1e-9);
  EXPECT_NEAR(totals.left_gpu_hours * 3600, totals.left_seconds, 1e-9);
}

TEST(StudyResults, StatusForProgramsIsJsonAndForPeopleATable) {
  const Results r;
  const auto json = nlohmann::json::parse(status_json(r.plan, r.progress, r.states));
  EXPECT_EQ(json["cells"]["done"], 1);
  EXPECT_EQ(json["runs"][1]["reason"], "exit 71: a, \"b\"");
  EXPECT_EQ(json["runs"][0]["eval_losses"]["web"], 3.25);
  EXPECT_THAT(status_table(r.plan, r.progress, r.states),
              HasSubstr("2 cells: 1 done, 0 running, 1 failed, 0 diverged, 0 planned"));
}

}  // namespace
}  // namespace retain::test
