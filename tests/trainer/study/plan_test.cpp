#include "trainer/study/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/trainer/study/small_study.h"
#include "trainer/plan/plan.h"

namespace retain::test {
namespace {

using study::make_plan;
using study::Plan;
using study::Study;
using ::testing::HasSubstr;

Plan plan_of(const Study& s, const std::vector<study::SetSize>& sets = {}) {
  std::vector<std::string> doubts;
  return make_plan(s, study::make_runs(s, doubts), sets);
}

std::string complaint(const Study& s, const std::vector<study::SetSize>& sets = {}) {
  try {
    plan_of(s, sets);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "";
}

// The table to the last digit. FLOPs of a token: 6 x matmul parameters + 12 x layers x hidden x value head size.
TEST(StudyPlan, GoldenTable) {
  Study s = small_study();
  s.decay_branches = true;
  s.sizes.resize(1);
  s.tokens.resize(1);
  const Plan plan = plan_of(s, {{.share = 1, .tokens = 10'240}});
  const std::string memory = std::to_string(plan.runs[0].memory_bytes);
  EXPECT_EQ(
      to_csv(plan),
      "run_id,kind,size,seed,starts_from,params,params_non_embedding,params_blocks,tokens,flops,flops_6nd,steps,"
      "first_step,batch,micro_batch,warmup_steps,lr,beta2,weight_decay,schedule,layers,hidden_size,heads,ffn_size,"
      "layout,memory_bytes,seconds,gpu_hours,epochs\n"
      "S-s1-leg16,trunk,S,1,,42240,34016,25760,16384,3526361088.0,4152360960.0,16,0,1024,256,4,0.0006,0.98,0.05,"
      "constant,2,32,4,48,dp=1 cp=1 tp=1," +
          memory +
          ",11.526361088,0.003201766968888889,1.6\n"
          "S-d20.5k-s1,cell,S,1,S-s1-leg16,42240,34016,25760,20480,4407951360.0,5190451200.0,20,16,1024,256,4,"
          "0.0006,0.98,0.05,wsd,2,32,4,48,dp=1 cp=1 tp=1," +
          memory + ",2.881590272,0.0008004417422222222,2.0\n");
  std::vector<std::string> doubts;
  const Config config = study::make_runs(s, doubts)[0].config;
  EXPECT_EQ(plan.runs[0].memory_bytes, retain::make_plan(config, 1, resolve_target(config, false, 1)).needed_bytes());
}

TEST(StudyPlan, JsonAndBackIsTheSamePlan) {
  Study s = small_study();
  s.decay_branches = true;
  s.machine.jobs_per_gpu = 3;
  const Plan plan = plan_of(s);
  const Plan again = study::plan_from_json(to_json(plan), plan.dir);
  EXPECT_EQ(to_json(again), to_json(plan));
  EXPECT_EQ(to_csv(again), to_csv(plan));
  EXPECT_EQ(again.jobs_per_gpu, 3);
  EXPECT_FALSE(again.on_gpu);
  EXPECT_EQ(again.dir, "/studies/small");
  EXPECT_THROW(study::plan_from_json("{\"schema\": 1}", "/x"), Error);
}

TEST(StudyPlan, TheExactFlopsAreThoseOfRetainPlan) {
  for (const study::PlannedRun& run : plan_of(small_study()).runs) {
    const double width = static_cast<double>(run.hidden_size), value_dim = 2 * width / static_cast<double>(run.heads);
    const double norms = width * (2.0 * static_cast<double>(run.layers) + 1);
    const double per_token = run.flops / static_cast<double>(run.tokens);
    const double mixers = 12.0 * static_cast<double>(run.layers) * width * value_dim;
    // Without the tables of the norms, of which heads have one of their width.
    EXPECT_NEAR(per_token, 6 * (static_cast<double>(run.parameters.non_embedding) - norms) + mixers,
                6 * static_cast<double>(run.layers) * 2 * width);
    EXPECT_DOUBLE_EQ(run.flops_6nd, 6.0 * static_cast<double>(run.parameters.all) * static_cast<double>(run.tokens));
  }
}

TEST(StudyPlan, AStudyOverItsHoursIsRefusedWithItsDearestCells) {
  Study s = small_study();
  s.limits.max_gpu_hours = 1e-3;
  EXPECT_THAT(complaint(s), HasSubstr("more than limits.max_gpu_hours = 0.001; most take M-d41k-s1 ("));
  s.limits.max_gpu_hours = 100;
  EXPECT_EQ(complaint(s), "");
}

TEST(StudyPlan, DataThatIsSeenTooOftenIsRefusedByCell) {
  Study s = small_study();
  s.limits.max_epochs = 3;
  EXPECT_THAT(
      complaint(s, {{.share = 1, .tokens = 10'240}}),
      HasSubstr(
          "2 cells of the study see their data more often than limits.max_epochs = 3: S-d41k-s1 (4), M-d41k-s1 (4)"));
  EXPECT_EQ(complaint(s, {{.share = 0.25, .tokens = 10'240}, {.share = 0.75, .tokens = 40'960}}), "");
  EXPECT_EQ(complaint(s), "");  // not there yet
}

TEST(StudyPlan, RunsThatDoNotFitADeviceTogetherAreRefusedWithHowManyDo) {
  Study s = small_study();
  const int64_t most = plan_of(s).runs.back().memory_bytes;
  s.machine.jobs_per_gpu = 3;
  s.machine.memory_bytes = 3 * static_cast<double>(most);
  EXPECT_EQ(complaint(s), "");
  s.machine.memory_bytes -= 1;
  EXPECT_THAT(complaint(s), HasSubstr("machine.jobs_per_gpu = 3 of it do not fit"));
  EXPECT_THAT(complaint(s), HasSubstr("set machine.jobs_per_gpu to 2, use smaller micro-batches"));
  s.machine.memory_bytes = static_cast<double>(most) - 1;
  EXPECT_THAT(complaint(s), HasSubstr("of a device: use smaller micro-batches"));
}

TEST(StudyPlan, JobsThatShareAGpuShareItsHours) {
  Study s = small_study();
  const double alone = plan_of(s).gpu_hours();
  s.machine.jobs_per_gpu = 4;
  EXPECT_DOUBLE_EQ(plan_of(s).gpu_hours(), alone / 4);
}

TEST(StudyPlan, MeasuredRatesDecideWhereThereAreAny) {
  Study s = small_study();
  s.sizes.resize(1);
  s.tokens.resize(1);
  const auto seconds = [&] { return plan_of(s).runs[0].seconds; };
  const double parameters = static_cast<double>(plan_of(s).runs[0].parameters.all);
  s.machine.rates = {{4 * parameters, 512}, {parameters / 4, 2048}};
  EXPECT_NEAR(seconds(), 20'480 / 1024.0, 1e-9);  // half way in the logarithm
  s.machine.rates = {{parameters / 4, 2048}};
  EXPECT_NEAR(seconds(), 20'480 / 512.0, 1e-9);  // a larger one: in proportion to its FLOPs
  s.machine.rates = {{parameters * 4, 512}};
  EXPECT_NEAR(seconds(), 20'480 / 512.0, 1e-9);  // a smaller one: no faster than was measured
}

}  // namespace
}  // namespace retain::test
