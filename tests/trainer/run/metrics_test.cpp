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

TEST(TensorBoard, BeginsAFileWithTheStepFromWhichEarlierOnesAreVoid) {
  const TestFolder folder;
  {
    TensorBoard board(folder.file(""));
    EXPECT_TRUE(folder.empty()) << "a run that records nothing writes nothing";
    board.record(41, {{"loss", 1.5}});
    board.record(42, {{"loss", 1.25}, {"lr", 0.5}});
  }
  const std::vector<std::string> files = files_in(folder.file(""));
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
  write_file(folder.file("events.out.tfevents.4000000000.late-clock.9999.0"), "");
  for (int start = 0; start < 3; ++start) TensorBoard(folder.file("")).record(start, {{"loss", 1}});
  const std::vector<std::string> files = files_in(folder.file(""));
  ASSERT_EQ(files.size(), 4);
  for (size_t i = 1; i < files.size(); ++i) {
    EXPECT_THAT(files[i], HasSubstr(concat("/events.out.tfevents.", 4000000000 + static_cast<int64_t>(i), ".")));
    EXPECT_EQ(events_of(read_file(files[i])).at(1).step(), static_cast<int64_t>(i) - 1);
  }
}

TEST(TensorBoard, SaysWhatItCannotWrite) {
  const TestFolder folder;
  TensorBoard board(folder.file("none"));
  EXPECT_THAT(message_of(ErrorKind::kCannotCreate,
                         [&] {
                           board.record(1, {{"loss", 1}});
                         }),
              HasSubstr("none/events.out.tfevents."));
}

TEST(Metrics, NamesValuesAlikeForReadersOfLinesAndForTensorBoard) {
  const TestFolder folder;
  std::filesystem::create_directory(folder.file("tensorboard"));
  Metrics metrics(folder.file("metrics.jsonl"), folder.file("tensorboard"));
  metrics.record({.step = 3,
                  .tokens = 3072,
                  .loss = 2.5,
                  .grad_norm = 0.75,
                  .lr = 0.125,
                  .tokens_per_second = 1024,
                  .mfu = 0,
                  .memory_bytes = 4096,
                  .step_seconds = 0.5});
  metrics.record(3, {{"valid/a/loss", 3.5}, {"valid/b/loss", 3.25}});

  const auto events = events_of(read_file(files_in(folder.file("tensorboard")).at(0)));
  ASSERT_EQ(events.size(), 4);
  std::istringstream lines(read_file(folder.file("metrics.jsonl")));
  for (size_t i = 2; i < 4; ++i) {
    std::string line;
    ASSERT_TRUE(std::getline(lines, line));
    const auto json = nlohmann::ordered_json::parse(line);
    std::vector<std::pair<std::string, float>> expected;
    for (const auto& [name, value] : json.items()) expected.emplace_back(name, value.get<float>());
    ASSERT_THAT(expected.at(0), Pair("step", 3));
    EXPECT_EQ(events[i].step(), 3);
    expected.erase(expected.begin());
    EXPECT_EQ(values_of(events[i]), expected);
  }
  EXPECT_THAT(values_of(events[3]), ElementsAre(Pair("valid/a/loss", 3.5f), Pair("valid/b/loss", 3.25f)));
}

TEST(Metrics, WritesNothingForOtherRanks) {
  const TestFolder folder;
  const auto before = std::filesystem::current_path();
  std::filesystem::current_path(folder.file(""));
  Metrics metrics("", "");
  metrics.record({.step = 1});
  metrics.record(1, {{"valid/a/loss", 1}});
  std::filesystem::current_path(before);
  EXPECT_TRUE(folder.empty());
}

}  // namespace
}  // namespace retain
