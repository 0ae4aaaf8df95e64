#include "parallel/log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace retain {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;

std::string content(const std::filesystem::path& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

class LogFile : public ::testing::Test {
 protected:
  LogFile() : path_(std::filesystem::path(::testing::TempDir()) / concat("retain_log_", ::getpid(), ".txt")) {}
  ~LogFile() override { std::filesystem::remove(path_); }
  std::filesystem::path path_;
};

TEST_F(LogFile, Rank0WritesEveryLevelToStderrAndTheFile) {
  ::testing::internal::CaptureStderr();
  {
    Log log({.world_rank = 0, .host = "node0", .file = path_.string()});
    log.info("step ", 3, " of ", 10);
    log.warn("slow disk");
    log.error("no disk");
  }
  const std::string said = ::testing::internal::GetCapturedStderr();
  EXPECT_THAT(said, ContainsRegex("[0-9-]+ [0-9:.]+ info: step 3 of 10\n"));
  EXPECT_THAT(said, HasSubstr(" warning: slow disk\n"));
  EXPECT_THAT(said, HasSubstr(" error: no disk\n"));
  EXPECT_EQ(content(path_), said);
}

TEST_F(LogFile, ARestartAppends) {
  ::testing::internal::CaptureStderr();
  Log({.file = path_.string()}).info("first");
  Log({.file = path_.string()}).info("second");
  ::testing::internal::GetCapturedStderr();
  EXPECT_THAT(content(path_), ContainsRegex("first\n.*second\n"));
}

TEST_F(LogFile, OtherRanksOnlyWarnAndSign) {
  ::testing::internal::CaptureStderr();
  Log log({.world_rank = 47, .host = "node5", .file = path_.string()});
  log.info("nobody hears this");
  log.warn("a link is down");
  log.error("a GPU fell off");
  const std::string said = ::testing::internal::GetCapturedStderr();
  EXPECT_THAT(said, Not(HasSubstr("nobody")));
  EXPECT_THAT(said, HasSubstr("rank 47 host node5: a link is down\n"));
  EXPECT_THAT(said, HasSubstr("rank 47 host node5: a GPU fell off\n"));
  EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST_F(LogFile, AMessageCannotForgeALineOrSteerATerminal) {
  ::testing::internal::CaptureStderr();
  Log({.file = path_.string()}).warn("name \x1b[2J\nerror: all is lost {}");
  const std::string said = ::testing::internal::GetCapturedStderr();
  EXPECT_THAT(said, HasSubstr("warning: name \\x1b[2J\\nerror: all is lost {}\n"));
  EXPECT_EQ(std::count(said.begin(), said.end(), '\n'), 1);
}

TEST(Log, AFileThatCannotBeOpenedIsNamed) {
  try {
    Log({.file = "/proc/no/such/folder/log.txt"});
    FAIL() << "nothing was thrown";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kCannotCreate);
    EXPECT_THAT(e.what(), HasSubstr("/proc/no/such/folder/log.txt"));
  }
}

}  // namespace
}  // namespace retain
