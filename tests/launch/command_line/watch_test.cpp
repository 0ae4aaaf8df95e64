// retain top, retain plot
#include <gmock/gmock.h>

#include "tests/launch/command_line/parse.h"

namespace retain {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(CommandLine, Top) {
  const auto o = parse<TopOptions>({"top", "a", "b", "-1", "--columns", "100", "--rows", "30", "--seconds", "0.5"});
  EXPECT_THAT(o.runs, ElementsAre("a", "b"));
  EXPECT_TRUE(o.once);
  EXPECT_EQ(o.columns, 100);
  EXPECT_EQ(o.rows, 30);
  EXPECT_EQ(o.seconds, 0.5);
  EXPECT_THAT(complaint({"top"}), HasSubstr("RUN is required"));
  EXPECT_THAT(complaint({"top", "a", "--seconds", "0"}), HasSubstr("--seconds"));
}

TEST(CommandLine, Plot) {
  const auto o = parse<PlotOptions>({"plot", "a", "b", "--out", "f.svg", "--x", "tokens", "--log-x", "--smooth", "50",
                                     "--series", "lr", "--series", "mfu"});
  EXPECT_THAT(o.runs, ElementsAre("a", "b"));
  EXPECT_EQ(o.out, "f.svg");
  EXPECT_EQ(o.figure.x, FigureAxis::kTokens);
  EXPECT_TRUE(o.figure.log_x);
  EXPECT_FALSE(o.figure.log_y);
  EXPECT_EQ(o.figure.smooth_steps, 50);
  EXPECT_THAT(o.figure.series, ElementsAre("lr", "mfu"));
  EXPECT_THAT(complaint({"plot", "a"}), HasSubstr("--out is required"));
  EXPECT_THAT(complaint({"plot", "a", "--out", "f.svg", "--x", "days"}), HasSubstr("hours"));
}

}  // namespace
}  // namespace retain
