#include "launch/watch/screen.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>

#include "kernels/core/text.h"
#include "tests/support/tiny_run.h"

namespace retain::test {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr double kBegin = 1'000'000;  // Unix seconds

class Screen : public ::testing::Test {
 protected:
  /// Steps of a second each, with a validation every ten.
  void train(int64_t steps) const {
    std::ofstream metrics(directory_.path() + "/metrics.jsonl");
    for (int64_t step = 1; step <= steps; ++step) {
      const double time = kBegin + static_cast<double>(step);
      metrics << concat(R"({"step":)", step, R"(,"tokens":)", 1000 * step, R"(,"loss":)",
                        5.0 / static_cast<double>(step),
                        R"(,"tokens_per_second":1000,"memory_bytes":1048576,"step_seconds":1,"slowest_rank":3,)",
                        R"("slowest_ratio":1.04,"time":)", std::to_string(time), "}\n");
      if (step % 10 == 0) metrics << concat(R"({"step":)", step, R"(,"valid/book/loss":2.5,"time":1})", "\n");
    }
  }
  void event(const std::string& text) const {
    std::ofstream(directory_.path() + "/events.jsonl", std::ios::app) << text << '\n';
  }
  std::string page(double now, const ScreenOptions& options = {.ascii = true}) {
    history_.refresh();
    std::string text;
    for (const std::string& line : draw_screen({{.history = history_, .steps = 100}}, now, options))
      text += line + "\n";
    return text;
  }
  RunCondition condition(double now) {
    history_.refresh();
    return condition_of(history_, now);
  }
  TemporaryDirectory directory_;
  RunHistory history_{directory_.path()};
};

TEST_F(Screen, SaysHowFarARunIsAndWhatIsLeft) {
  train(40);
  event(R"({"time":1000005,"step":5,"event":"checkpoint","bytes":"2097152","seconds":"0.5"})");
  const std::string text = page(kBegin + 41);
  EXPECT_THAT(text, HasSubstr("  running\n"));
  EXPECT_THAT(text, HasSubstr("step 40/100  40.0 %  40.0 k tokens  1 min 0 s left"));
  EXPECT_THAT(text, HasSubstr("valid/book/loss   2.5"));
  EXPECT_THAT(text, HasSubstr("memory_bytes      1.0 MiB"));
  EXPECT_THAT(text, HasSubstr("slowest rank      3, 1.04 times the median"));
  EXPECT_THAT(text, HasSubstr("step 5 checkpoint of 2.0 MiB in 0.5 s"));
}

TEST_F(Screen, FitsEveryTerminal) {
  train(40);
  for (int i = 0; i < 30; ++i)
    event(concat(R"({"time":1,"step":1,"event":"start","mesh":")", std::string(300, 'x'), R"("})"));
  for (const auto& [columns, rows] : {std::pair{20, 5}, std::pair{80, 24}, std::pair{200, 50}}) {
    history_.refresh();
    const std::vector<WatchedRun> runs(static_cast<size_t>(rows == 24 ? 3 : 1), {.history = history_, .steps = 100});
    for (const bool ascii : {true, false}) {
      const auto lines = draw_screen(runs, kBegin, {.columns = columns, .rows = rows, .ascii = ascii});
      EXPECT_LE(std::ssize(lines), rows);
      for (const std::string& line : lines) {
        const auto width = std::ranges::count_if(line, [](char c) { return (c & 0xc0) != 0x80; });
        EXPECT_LE(width, columns) << line;
      }
    }
  }
}

TEST_F(Screen, ColoursOnlyWhereTheyAreWanted) {
  train(3);
  EXPECT_THAT(page(kBegin), ::testing::Not(HasSubstr("\x1b")));
  EXPECT_THAT(page(kBegin, {.ascii = true, .colours = true}), HasSubstr("\x1b["));
}

TEST_F(Screen, SaysWhatBecameOfARun) {
  event(R"({"time":1000000,"step":0,"event":"start"})");
  EXPECT_EQ(condition(kBegin).text, "starting");
  EXPECT_THAT(page(kBegin), HasSubstr("no step is done yet"));
  train(3);
  EXPECT_EQ(condition(kBegin + 10).text, "running");
  EXPECT_THAT(condition(kBegin + 303).text, StartsWith("silent for 5 min 0 s"));
  EXPECT_EQ(condition(kBegin + 303).mood, RunCondition::Mood::kBad);
  event(R"({"time":1000010,"step":3,"event":"error","code":"71","reason":"out of memory"})");
  EXPECT_EQ(condition(kBegin + 10).text, "failed with exit code 71: out of memory");
  event(R"({"time":1000010,"step":3,"event":"stop","reason":"asked to stop: SIGUSR1"})");
  EXPECT_EQ(condition(kBegin + 10).text, "stopped: asked to stop: SIGUSR1");
  event(R"({"time":1000010,"step":3,"event":"done"})");
  EXPECT_EQ(condition(kBegin + 9999).text, "finished");
}

}  // namespace
}  // namespace retain::test
