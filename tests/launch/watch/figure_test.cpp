#include "launch/watch/figure.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "kernels/core/error.h"
#include "tests/support/tiny_run.h"

namespace retain::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class Figure : public ::testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::create_directories(directory_.path() + "/it's");
    std::ofstream metrics(directory_.path() + "/it's/metrics.jsonl");
    // An hour a step, and a day between two starts.
    metrics << R"({"step":1,"tokens":10,"loss":4,"tokens_per_second":5,"time":0,"start":1})"
               "\n"
            << R"({"step":2,"tokens":20,"loss":2,"tokens_per_second":7,"time":3600,"start":1})"
               "\n"
            << R"({"step":2,"valid/book/loss":3,"time":3600,"start":1})"
               "\n"
            << R"({"step":2,"resume":true,"start":2})"
               "\n"
            << R"({"step":3,"tokens":30,"loss":1,"tokens_per_second":9,"time":90000,"start":2})"
               "\n"
            << R"({"step":4,"tokens":40,"loss":1,"tokens_per_second":9,"time":93600,"start":2})"
               "\n";
    metrics.close();
    history_.refresh();
  }
  std::vector<FigureCurve> curves(const FigureOptions& options) const { return curves_of({&history_}, options); }
  TemporaryDirectory directory_;
  RunHistory history_{directory_.path() + "/it's"};
};

TEST_F(Figure, DrawsTrainingValidationAndThroughput) {
  const auto drawn = curves({});
  ASSERT_EQ(drawn.size(), 3U);
  EXPECT_EQ(drawn[0].name, "training");
  EXPECT_THAT(drawn[0].x, ElementsAre(1, 2, 3, 4));
  EXPECT_THAT(drawn[0].y, ElementsAre(4, 2, 1, 1));
  EXPECT_EQ(drawn[1].name, "valid/book/loss");
  EXPECT_TRUE(drawn[1].is_sparse);
  EXPECT_THAT(drawn[1].y, ElementsAre(3));
  EXPECT_TRUE(drawn[2].is_throughput);
}

TEST_F(Figure, HoursCountOnlyWhileTheRunTrained) {
  EXPECT_THAT(curves({.x = FigureAxis::kTokens})[0].x, ElementsAre(10, 20, 30, 40));
  const auto drawn = curves({.x = FigureAxis::kHours});
  EXPECT_THAT(drawn[0].x, ElementsAre(0, 1, 1, 2));
  EXPECT_THAT(drawn[1].x, ElementsAre(1));
}

TEST_F(Figure, SmoothingIsAnExponentialMeanOfWhatWasSeen) {
  const auto smooth = curves({.smooth_steps = 3})[0].smoothed;  // weights 1/2
  EXPECT_DOUBLE_EQ(smooth[0], 4);
  EXPECT_DOUBLE_EQ(smooth[1], (4 * 0.25 + 2 * 0.5) / 0.75);
  EXPECT_EQ(curves({})[0].smoothed, curves({})[0].y) << "a hundredth of four steps";
}

TEST_F(Figure, ASeriesThatNoRunHasIsRefusedWithThoseThatAreThere) {
  EXPECT_EQ(curves({.series = {"loss"}})[0].name, "loss");
  try {
    curves({.series = {"los"}});
    ADD_FAILURE() << "a series that is not there";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kData);
    EXPECT_THAT(e.what(), HasSubstr("loss, tokens_per_second, valid/book/loss"));
  }
}

TEST_F(Figure, RunsAreToldApartAndQuotedForGnuplot) {
  const auto drawn = curves_of({&history_, &history_}, {});
  EXPECT_THAT(drawn[0].name, HasSubstr("it's: training"));
  const std::string script = figure_script(drawn, {}, "d.txt", "o'.svg");
  EXPECT_THAT(script, HasSubstr("set output 'o''.svg'"));
  EXPECT_THAT(script, HasSubstr("it''s: training'"));
  EXPECT_THAT(script, HasSubstr("set terminal svg"));
  EXPECT_THAT(script, HasSubstr("set multiplot"));
  for (const char* const run : {"1:3 with lines lw 2 lc rgb '#0072b2'", "1:3 with lines lw 2 lc rgb '#009e73'"}) {
    const size_t loss = script.find(run);
    EXPECT_NE(script.find(run, loss + 1), std::string::npos) << "its throughput has the colour of its loss: " << run;
  }
  EXPECT_THAT(figure_script(drawn, {.log_x = true}, "d.txt", "o.png"), HasSubstr("set logscale x"));
}

TEST_F(Figure, DataStandInTheOrderOfTheCurves) {
  const std::string data = figure_data(curves({}));
  EXPECT_THAT(data, HasSubstr("# training\n# x y smoothed\n1 4 4\n2 2 2\n"));
  EXPECT_THAT(data, HasSubstr("\n\n\n# valid/book/loss\n"));
}

}  // namespace
}  // namespace retain::test
