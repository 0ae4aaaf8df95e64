#include "trainer/run/history.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "kernels/core/error.h"
#include "tests/support/tiny_run.h"

namespace retain::test {
namespace {

class History : public ::testing::Test {
 protected:
  void append(const std::string& file, const std::string& text) const {
    std::ofstream(directory_.path() + "/" + file, std::ios::app) << text;
  }
  std::vector<std::pair<int64_t, double>> losses() const {
    std::vector<std::pair<int64_t, double>> losses;
    for (const HistoryPoint& point : history_.series("loss")) losses.emplace_back(point.step, point.value);
    return losses;
  }
  TemporaryDirectory directory_;
  RunHistory history_{directory_.path()};
};

using Losses = std::vector<std::pair<int64_t, double>>;

TEST_F(History, ReadsWhatIsAppendedAndLeavesALineThatIsNotWhole) {
  append("metrics.jsonl", R"({"step":1,"tokens":64,"loss":5.5,"time":100.5,"start":1})"
                          "\n"
                          R"({"step":2,"tok)");
  history_.refresh();
  EXPECT_EQ(losses(), (Losses{{1, 5.5}}));
  EXPECT_EQ(history_.series("loss").front().tokens, 64);
  EXPECT_EQ(history_.series("loss").front().time, 100.5);
  append("metrics.jsonl", R"(ens":128,"loss":5.0,"time":101,"start":1})"
                          "\n");
  history_.refresh();
  EXPECT_EQ(losses(), (Losses{{1, 5.5}, {2, 5.0}}));
  history_.refresh();
  EXPECT_EQ(losses().size(), 2U) << "nothing is read twice";
  EXPECT_TRUE(history_.series("mfu").empty());
}

TEST_F(History, WhatARunThatWentBackReportedOfLaterStepsIsVoid) {
  for (const int step : {1, 2, 3, 4}) {
    append("metrics.jsonl", concat(R"({"step":)", step, R"(,"tokens":)", 64 * step, R"(,"loss":)", step, "}\n"));
    append("metrics.jsonl", concat(R"({"step":)", step, R"(,"valid/book/loss":)", step, "}\n"));
  }
  history_.refresh();
  EXPECT_EQ(history_.series("valid/book/loss").back().tokens, 256) << "those of its step";
  append("metrics.jsonl", R"({"step":2,"resume":true,"start":2})"
                          "\n"
                          R"({"step":3,"tokens":192,"loss":9,"start":2})"
                          "\n");
  history_.refresh();
  EXPECT_EQ(losses(), (Losses{{1, 1}, {2, 2}, {3, 9}}));
  EXPECT_EQ(history_.series("valid/book/loss").size(), 2U);
  EXPECT_EQ(history_.series("loss").back().start, 2);
}

TEST_F(History, AFileThatWasReplacedIsReadAnew) {
  append("metrics.jsonl", R"({"step":1,"tokens":64,"loss":5.5})"
                          "\n"
                          R"({"step":2,"tokens":128,"loss":5.0})"
                          "\n");
  history_.refresh();
  std::filesystem::remove(directory_.path() + "/metrics.jsonl");
  append("other", R"({"step":1,"tokens":64,"loss":3})"
                  "\n");
  std::filesystem::rename(directory_.path() + "/other", directory_.path() + "/metrics.jsonl");
  history_.refresh();
  EXPECT_EQ(losses(), (Losses{{1, 3}}));
}

TEST_F(History, EventsKeepTheirValuesAndLinesThatAreNoneAreLeftOut) {
  append("events.jsonl",
         "nonsense\n[1]\n"
         R"({"time":7,"step":3,"event":"stop","reason":"asked","code":"75"})"
         "\n");
  history_.refresh();
  ASSERT_EQ(history_.events().size(), 1U);
  EXPECT_EQ(history_.events().front().kind, "stop");
  EXPECT_EQ(history_.events().front().step, 3);
  EXPECT_EQ(history_.events().front().values.at("reason"), "asked");
}

TEST_F(History, AFolderWithoutRecordsIsNoRun) {
  try {
    history_.refresh();
    ADD_FAILURE() << "an empty folder";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kMissingInput);
    EXPECT_THAT(e.what(), ::testing::HasSubstr("is no run directory"));
  }
}

}  // namespace
}  // namespace retain::test
