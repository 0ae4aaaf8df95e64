// retain study …
#include <gmock/gmock.h>

#include "tests/launch/command_line/parse.h"

namespace retain {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(CommandLine, Study) {
  const auto plan = parse<StudyPlanOptions>({"study", "plan", "s.yaml", "--dry-run", "--json"});
  EXPECT_EQ(plan.study, "s.yaml");
  EXPECT_TRUE(plan.dry_run && plan.json);
  const auto o = parse<StudyRunOptions>({"study", "run", "s", "--max-jobs", "4", "--only", "a", "--only", "b",
                                         "--scheduler", "slurm", "--time", "90m", "--shared", "--runs", "r.csv"});
  EXPECT_EQ(o.max_jobs, 4);
  EXPECT_THAT(o.only, ElementsAre("a", "b"));
  EXPECT_EQ(o.scheduler, StudyScheduler::kSlurm);
  EXPECT_EQ(o.limit_seconds, 5400);
  EXPECT_TRUE(o.shared);
  EXPECT_EQ(o.runs, "r.csv");
  EXPECT_EQ(parse<StudyRunOptions>({"study", "run", "s"}).max_jobs, 0);
  EXPECT_EQ(parse<StudyStatusOptions>({"study", "status", "s"}).dir, "s");
  EXPECT_EQ(parse<StudyCollectOptions>({"study", "collect", "s", "--out", "r.csv"}).out, "r.csv");
  EXPECT_EQ(parse<StudyRatesOptions>({"study", "rates", "s.yaml", "--seconds", "3"}).seconds, 3);
  EXPECT_THAT(complaint({"study", "collect", "s"}), HasSubstr("--out is required"));
}

TEST(CommandLine, StudyFit) {
  const auto o =
      parse<StudyFitOptions>({"study", "fit", "runs.csv", "--map", "N='Model Size',L=loss", "--only", "a=b", "--only",
                              "loss<4", "--loss", "huber:1e-2", "--bootstrap", "0", "--form", "gadre"});
  EXPECT_EQ(o.map, "N='Model Size',L=loss");
  EXPECT_THAT(o.only, ElementsAre("a=b", "loss<4"));
  EXPECT_EQ(o.delta, 1e-2);
  EXPECT_EQ(o.resamples, 0);
  EXPECT_EQ(o.starts, 200);
  EXPECT_EQ(o.form, "gadre");
  EXPECT_THAT(complaint({"study", "fit", "runs.csv", "--loss", "mse"}), HasSubstr("expected huber:DELTA"));
  EXPECT_THAT(complaint({"study", "fit", "runs.csv", "--form", "chincilla"}), HasSubstr("did you mean 'chinchilla'"));
  EXPECT_THAT(complaint({"study", "fit"}), HasSubstr("RUNS is required"));
}

TEST(CommandLine, StudyPredictTakesARunOrABudget) {
  EXPECT_EQ(
      parse<StudyPredictOptions>({"study", "predict", "fit.json", "--params", "6.7B", "--tokens", "100e9"}).params,
      6.7e9);
  EXPECT_EQ(parse<StudyPredictOptions>({"study", "predict", "fit.json", "--flops", "1e23"}).flops, 1e23);
  for (const Arguments& more :
       {Arguments{}, {"--params", "1B"}, {"--params", "1B", "--tokens", "2B", "--flops", "1e20"}}) {
    Arguments all = {"study", "predict", "fit.json"};
    all.insert(all.end(), more.begin(), more.end());
    EXPECT_THAT(complaint(all), HasSubstr("give --params and --tokens of a run, or --flops of a budget"));
  }
  EXPECT_THAT(complaint({"study", "predict", "fit.json", "--flops", "big"}), HasSubstr("expected a positive number"));
}

TEST(StudyWidth, TakesRisingWidths) {
  const auto o =
      parse<StudyWidthOptions>({"study", "width", "c.yaml", "--widths", "32,64", "--steps", "3", "--set", "a=b"});
  EXPECT_EQ(o.config, "c.yaml");
  EXPECT_EQ(o.sets, std::vector<std::string>{"a=b"});
  EXPECT_EQ(o.widths, (std::vector<int64_t>{32, 64}));
  EXPECT_EQ(o.steps, 3);
  EXPECT_EQ(parse<StudyWidthOptions>({"study", "width", "c"}).widths, (std::vector<int64_t>{128, 256, 512, 1024}));
  for (const char* wrong : {"32", "64,32", "32,32"})
    EXPECT_THAT(complaint({"study", "width", "c", "--widths", wrong}), HasSubstr("expected two rising widths"))
        << wrong;
}

}  // namespace
}  // namespace retain
