#include "trainer/run/log.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>

#include "tests/trainer/data/token_files.h"

namespace retain::test {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;

/// What `body` says to a log of these options, on stderr and stdout.
template <class Body>
std::string said(const LogOptions& options, const Body& body) {
  ::testing::internal::CaptureStderr();
  ::testing::internal::CaptureStdout();
  {
    Log log(options);
    body(log);
    EXPECT_TRUE(log.flush(std::chrono::seconds{60}));
  }
  const std::string out = ::testing::internal::GetCapturedStdout();
  return ::testing::internal::GetCapturedStderr() + out;
}

TEST(Log, Rank0WritesEveryLevelToStderrAndTheFile) {
  const TestFolder folder;
  const std::string text = said({.directory = folder.file("")}, [](Log& log) {
    log.info("step ", 3, " of ", 10);
    log.warn("slow disk");
    log.error("no disk");
  });
  EXPECT_THAT(text, ContainsRegex("[0-9-]+ [0-9:.]+ [+-][0-9][0-9][0-9][0-9] info: step 3 of 10\n"));
  EXPECT_THAT(text, HasSubstr(" warning: slow disk\n"));
  EXPECT_THAT(text, HasSubstr(" error: no disk\n"));
  EXPECT_EQ(read_file(folder.file("log.txt")), text);
}

TEST(Log, ARestartAppends) {
  const TestFolder folder;
  for (const char* const word : {"first", "second"}) {
    said({.directory = folder.file("")}, [&](Log& log) { log.info(word); });
  }
  EXPECT_THAT(read_file(folder.file("log.txt")), ContainsRegex("first\n.*second\n"));
}

TEST(Log, WhatAllRanksKnowIsSaidOnce) {
  const TestFolder folder;
  const std::string text = said({.world_rank = 47, .host = "node5", .directory = folder.file("")}, [](Log& log) {
    log.info("nobody");
    log.warn("hears");
    log.error("this");
    log.event(3, "checkpoint", {});
  });
  EXPECT_EQ(text, "");
  EXPECT_TRUE(folder.empty());
}

TEST(Log, WhatOneRankKnowsIsSigned) {
  const std::string text = said({.world_rank = 47, .host = "node5", .directory = "/proc/no/such"},
                                [](Log& log) { log.replace("ranks/tuning-00047.txt", "products"); });
  EXPECT_THAT(text, HasSubstr("warning: rank 47 host node5: ranks/tuning-00047.txt cannot be written: "));
}

TEST(Log, AMessageCannotForgeALineOrSteerATerminal) {
  const std::string text = said({}, [](Log& log) { log.warn("name \x1b[2J\nerror: all is lost {}"); });
  EXPECT_THAT(text, HasSubstr("warning: name \\x1b[2J\\nerror: all is lost {}\n"));
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1);
}

/// stdout is a pipe that nobody reads and that takes nothing more.
class StalledStdout {
 public:
  StalledStdout() : stdout_(::dup(STDOUT_FILENO)) {
    EXPECT_EQ(::pipe2(ends_.data(), O_NONBLOCK), 0);
    const std::string zeros(4096, '\0');
    while (::write(ends_[1], zeros.data(), zeros.size()) > 0) continue;
    ::dup2(ends_[1], STDOUT_FILENO);
  }
  ~StalledStdout() {
    ::dup2(stdout_, STDOUT_FILENO);
    for (const int descriptor : {stdout_, ends_[0], ends_[1]}) ::close(descriptor);
  }
  StalledStdout(const StalledStdout&) = delete;
  StalledStdout& operator=(const StalledStdout&) = delete;
  void read() const {
    std::array<char, 4096> some{};
    while (::read(ends_[0], some.data(), some.size()) > 0) continue;
  }

 private:
  int stdout_;
  std::array<int, 2> ends_{};
};

TEST(Log, StderrIsToldWhileStdoutTakesNothing) {
  const StalledStdout stalled;
  ::testing::internal::CaptureStderr();
  std::string text;
  {
    Log log({});
    log.print("step=1/2");
    log.say_end("retain: shard 7 is damaged", std::chrono::seconds{60});
    EXPECT_FALSE(log.flush(std::chrono::milliseconds{1}));
    EXPECT_TRUE(log.all_written()) << "no file lacks anything";
    log.say_end("retain: the end", std::chrono::seconds{60});
    text = ::testing::internal::GetCapturedStderr();
    stalled.read();
  }
  EXPECT_THAT(text, HasSubstr("retain: shard 7 is damaged\n"));
  EXPECT_THAT(text, HasSubstr(" warning: stdout: 1 record is lost (they still wait to be written)\n"));
}

TEST(Log, WhatCannotBeWrittenEndsNothingAndIsToldWithItsCause) {
  const TestFolder folder;
  for (const char* const name : {"log.txt", "events.jsonl"})
    std::filesystem::create_symlink("/dev/full", folder.file(name));
  const std::string text = said({.directory = folder.file("")}, [](Log& log) {
    for (int64_t step = 0; step < 3; ++step) log.event(step, "checkpoint", {});
    EXPECT_TRUE(log.flush(std::chrono::seconds{60}));
    EXPECT_FALSE(log.all_written());
  });
  EXPECT_THAT(text,
              ContainsRegex("warning: events.jsonl cannot be written: write .*/events.jsonl: No space left on device"));
  EXPECT_THAT(text, HasSubstr("error: events.jsonl: 3 records are lost (write "));
  EXPECT_THAT(text, HasSubstr("error: log.txt: "));
}

}  // namespace
}  // namespace retain::test
