#include "trainer/run/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>
#include <stdexcept>
#include <vector>

#include "tests/trainer/data/token_files.h"
#include "trainer/tensorboard.pb.h"

namespace retain {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::Pair;

std::vector<tensorboard::Event> events_of(const std::string& bytes) {
  std::vector<tensorboard::Event> events;
  for (size_t at = 0; at < bytes.size();) {
    uint64_t size = 0;
    if (bytes.size() - at < 16) throw std::runtime_error("a torn record");
    std::memcpy(&size, bytes.data() + at, sizeof size);
    if (size > bytes.size() - at - 16) throw std::runtime_error("a torn event");
    if (!events.emplace_back().ParseFromString(bytes.substr(at + 12, size))) throw std::runtime_error("no event");
    at += 16 + size;
  }
  return events;
}

std::vector<std::pair<std::string, float>> values_of(const tensorboard::Event& event) {
  std::vector<std::pair<std::string, float>> values;
  for (const auto& value : event.summary().value()) values.emplace_back(value.tag(), value.simple_value());
  return values;
}

/// In the order of their names, in which TensorBoard reads them.
std::vector<std::string> files_in(const std::string& folder) {
  std::vector<std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) files.push_back(entry.path().string());
  std::sort(files.begin(), files.end());
  return files;
}

// Two records that TensorFlow wrote.
TEST(TensorBoard, WritesTheBytesThatTensorFlowWrites) {
  EXPECT_EQ(tensorboard_version(1.7e9) + tensorboard_scalars(1700000001.0, 1, {{"loss", 2.5}}),
            from_hex("1800000000000000a37f4b220900000040fc54d9411a0d627261696e2e4576656e743a32eced8f9d"
                     "1a00000000000000129bd82d0900004040fc54d94110012a0d0a0b0a046c6f7373150000204096362a1a"));
}

TEST(TensorBoard, WritesWhatIsZeroOrNoNumber) {
  const auto events = events_of(tensorboard_scalars(1, 0, {{"mfu", 0.0}, {"loss", std::nan("")}, {"a", INFINITY}}));
  ASSERT_EQ(events.at(0).summary().value_size(), 3);
  for (const auto& value : events[0].summary().value()) EXPECT_TRUE(value.has_simple_value()) << value.tag();
  EXPECT_TRUE(std::isnan(events[0].summary().value(1).simple_value()));
}

/// What a start that goes on after `step` records, written.
template <class Body>
void start(const TestFolder& folder, int64_t step, const Body& body) {
  std::filesystem::create_directory(folder.file("tensorboard"));
  Log log({.directory = folder.file("")});
  Metrics metrics(log, step);
  body(metrics);
  EXPECT_TRUE(log.flush(std::chrono::seconds{60}));
  EXPECT_TRUE(log.all_written());
}

/// Without their times.
std::vector<nlohmann::ordered_json> lines_of(const TestFolder& folder) {
  std::vector<nlohmann::ordered_json> lines;
  std::istringstream text(read_file(folder.file("metrics.jsonl")));
  for (std::string line; std::getline(text, line);) lines.push_back(nlohmann::ordered_json::parse(line));
  for (auto& line : lines) {
    if (line.contains("start") && !line.contains("resume")) {
      EXPECT_GT(line.value("time", 0.0), 1.7e9) << line;
    }
    line.erase("time");
  }
  return lines;
}

TEST(TensorBoard, BeginsAFileWithTheStepFromWhichEarlierOnesAreVoid) {
  const TestFolder folder;
  start(folder, 40, [](Metrics&) {});
  EXPECT_TRUE(std::filesystem::is_empty(folder.file("tensorboard"))) << "a run that records nothing writes nothing";
  start(folder, 40, [](Metrics& metrics) {
    metrics.record(41, {{"loss", 1.5}});
    metrics.record(42, {{"loss", 1.25}, {"lr", 0.5}});
  });
  const std::vector<std::string> files = files_in(folder.file("tensorboard"));
  ASSERT_EQ(files.size(), 1);
  const auto events = events_of(read_file(files[0]));
  ASSERT_EQ(events.size(), 4);
  EXPECT_EQ(events[0].file_version(), "brain.Event:2");
  EXPECT_EQ(events[1].session_log().status(), tensorboard::SessionLog::START);
  EXPECT_EQ(events[1].step(), 41);
  EXPECT_THAT(values_of(events[2]), ElementsAre(Pair("loss", 1.5f)));
  EXPECT_THAT(values_of(events[3]), ElementsAre(Pair("loss", 1.25f), Pair("lr", 0.5f)));
  EXPECT_EQ(events[3].step(), 42);
  EXPECT_GT(events[3].wall_time(), 1.7e9);
}

TEST(TensorBoard, NamesFilesInTheOrderOfTheStarts) {
  const TestFolder folder;
  std::filesystem::create_directory(folder.file("tensorboard"));
  write_file(folder.file("tensorboard/events.out.tfevents.4000000000.late-clock.9999.0"), "");
  for (int at = 0; at < 3; ++at) {
    start(folder, at, [at](Metrics& metrics) { metrics.record(at + 1, {{"loss", 1}}); });
  }
  const std::vector<std::string> files = files_in(folder.file("tensorboard"));
  ASSERT_EQ(files.size(), 4);
  for (size_t i = 1; i < files.size(); ++i) {
    EXPECT_THAT(files[i], HasSubstr(concat("/events.out.tfevents.", 4000000000 + static_cast<int64_t>(i), ".")));
    EXPECT_EQ(events_of(read_file(files[i])).at(1).step(), static_cast<int64_t>(i));
  }
}

constexpr StepMetrics kStep = {.step = 3,
                               .tokens = 3072,
                               .loss = 2.5,
                               .grad_norm = 0.75,
                               .lr = 0.125,
                               .tokens_per_second = 1024,
                               .mfu = 0.5,
                               .memory_bytes = 4096,
                               .step_seconds = 0.25};

TEST(Metrics, NamesValuesAlikeForReadersOfLinesAndForTensorBoard) {
  const TestFolder folder;
  start(folder, 2, [](Metrics& metrics) {
    metrics.record(kStep);
    metrics.record(3, {{"valid/a/loss", 3.5}, {"valid/b/loss", 3.25}});
  });
  const auto events = events_of(read_file(files_in(folder.file("tensorboard")).at(0)));
  const auto lines = lines_of(folder);
  ASSERT_EQ(events.size(), 4);
  ASSERT_EQ(lines.size(), 2);
  for (size_t i = 2; i < 4; ++i) {
    std::vector<std::pair<std::string, float>> expected;
    for (const auto& [name, value] : lines[i - 2].items()) expected.emplace_back(name, value.get<float>());
    ASSERT_THAT(expected.front(), Pair("step", 3));
    ASSERT_THAT(expected.back(), Pair("start", 1));
    EXPECT_EQ(events[i].step(), 3);
    expected.erase(expected.begin());
    expected.pop_back();
    EXPECT_EQ(values_of(events[i]), expected);
  }
  EXPECT_THAT(values_of(events[3]), ElementsAre(Pair("valid/a/loss", 3.5f), Pair("valid/b/loss", 3.25f)));
}

TEST(Metrics, SayWhereAStartGoesBackTo) {
  const TestFolder folder;
  for (const int64_t from : {0, 20, 10}) {
    start(folder, from, [from](Metrics& metrics) {
      for (int64_t step = from + 1; step <= from + 2; ++step) metrics.record(step, {{"loss", 1}});
    });
  }
  std::vector<std::string> lines;
  for (const auto& line : lines_of(folder)) lines.push_back(line.dump());
  EXPECT_THAT(lines, ElementsAre(R"({"step":1,"loss":1.0,"start":1})", R"({"step":2,"loss":1.0,"start":1})",
                                 R"({"step":20,"resume":true,"start":2})", R"({"step":21,"loss":1.0,"start":2})",
                                 R"({"step":22,"loss":1.0,"start":2})", R"({"step":10,"resume":true,"start":3})",
                                 R"({"step":11,"loss":1.0,"start":3})", R"({"step":12,"loss":1.0,"start":3})"));
}

TEST(Metrics, LinesOfAVersionThatDidNotCountAreOfTheFirstStart) {
  const TestFolder folder;
  write_file(folder.file("metrics.jsonl"), "{\"step\":1,\"loss\":1.0}\n{\"step\":2,\"lo");
  start(folder, 0, [](Metrics& metrics) { metrics.record(1, {{"loss", 1}}); });
  EXPECT_THAT(read_file(folder.file("metrics.jsonl")),
              ::testing::MatchesRegex("\\{\"step\":1,\"loss\":1.0}\n\\{\"step\":0,\"resume\":true,\"start\":2}\n"
                                      "\\{\"step\":1,\"loss\":1.0,\"time\":[0-9.]+,\"start\":2}\n"));
}

TEST(Metrics, PrometheusHasTheNewestValues) {
  const TestFolder folder;
  std::filesystem::create_directory(folder.file("tensorboard"));
  std::filesystem::create_directory(folder.file("collector"));
  Log log({.directory = folder.file("")});
  {
    Metrics metrics(log, 0, folder.file("collector/run.prom"));
    metrics.record(kStep);
    metrics.record(kStep.step, {{"valid/book/loss", 1.5}});
    metrics.record(kStep.step + 1, {{"loss", 1.25}});
  }
  EXPECT_TRUE(log.flush(std::chrono::seconds{60}));
  const std::string text = read_file(folder.file("collector/run.prom"));
  const auto has = [&](const std::string& value) { return HasSubstr("run=\"" + folder.file("") + "\"} " + value); };
  EXPECT_THAT(text, has("1.25\n"));
  EXPECT_THAT(text, HasSubstr("\n# TYPE retain_tokens_per_second gauge\nretain_tokens_per_second{"));
  EXPECT_THAT(text, HasSubstr("retain_valid_book_loss{"));
  EXPECT_THAT(text, HasSubstr("retain_time{"));
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.file("collector")), {}), 1) << "nothing beside it";
}

TEST(Metrics, KnowNoShareOfAPeakThatNobodyKnows) {
  const TestFolder folder;
  StepMetrics unknown = kStep;
  unknown.mfu.reset();
  start(folder, 2, [&](Metrics& metrics) { metrics.record(unknown); });
  EXPECT_FALSE(lines_of(folder).at(0).contains("mfu"));
  EXPECT_THAT(step_line(unknown, 10), Not(HasSubstr("mfu")));
  EXPECT_THAT(step_line(kStep, 10), HasSubstr(" tokens_per_second=1024 mfu=0.5000 step_seconds=0.2500 tokens="));
}

TEST(Metrics, TheStepLineAndTheFileSayWhatWasMeasured) {
  const TestFolder folder;
  StepMetrics measured{.step = 7, .tokens = 1792, .memory_bytes = 1 << 20, .seconds_left = 77};
  measured.costs = {.data_share = 0.0002,
                    .exchange_share = 0.03125,
                    .watts = 1310.2,
                    .joules = 5000.5,
                    .clock_mhz = 1755,
                    .millijoules_per_token = 25.5694};
  EXPECT_THAT(step_line(measured, 10),
              ::testing::ContainsRegex(
                  " tokens=1792 memory_bytes=1048576 data_share=0.0002 exchange_share=0.0312 watts=1310 clock_mhz=1755 "
                  "millijoules_per_token=25.569 eta=1m17s time=[-0-9]+T[0-9:]+[+-][0-9]+$"));
  start(folder, 0, [&](Metrics& metrics) { metrics.record(measured); });
  const auto line = lines_of(folder).at(0);
  EXPECT_EQ(line["data_share"], 0.0002);
  EXPECT_EQ(line["exchange_share"], 0.03125);
  EXPECT_EQ(line["watts"], 1310.2);
  EXPECT_EQ(line["joules"], 5000.5);
  EXPECT_EQ(line["clock_mhz"], 1755);
  EXPECT_EQ(line["millijoules_per_token"], 25.5694);
  EXPECT_THAT(step_line(kStep, 10), Not(::testing::ContainsRegex("_share|watts|clock_mhz|joules|eta")))
      << "where nothing was";
}

}  // namespace
}  // namespace retain
