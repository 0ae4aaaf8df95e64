#include "launch/job_time.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

namespace retain {
namespace {

using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr int64_t kUnixNow = 1'800'000'000;
constexpr std::chrono::steady_clock::time_point kStart{seconds{100}}, kNow{seconds{103}};

struct Found {
  std::optional<TimeLimit> limit;
  std::vector<std::string> doubts;
  int asked = 0;  ///< scontrol

  int64_t seconds_left() const { return limit ? std::chrono::duration_cast<seconds>(limit->end - kNow).count() : -1; }
};

Found find(int64_t wall_time_seconds, const std::map<std::string, std::string>& variables,
           const std::string& scontrol = "") {
  Found found;
  const TimeSources sources{.variables =
                                [&](const std::string& name) {
                                  const auto known = variables.find(name);
                                  return known == variables.end() ? std::nullopt : std::optional(known->second);
                                },
                            .scontrol =
                                [&](const std::string&) {
                                  ++found.asked;
                                  return scontrol;
                                },
                            .unix_seconds = kUnixNow,
                            .now = kNow,
                            .start = kStart};
  found.limit = find_time_limit(wall_time_seconds, sources, found.doubts);
  return found;
}

TEST(SlurmTime, IsReadAsSlurmWritesIt) {
  EXPECT_EQ(parse_slurm_time("1-02:03:04"), 93'784);
  EXPECT_EQ(parse_slurm_time("02:03:04"), 7'384);
  EXPECT_EQ(parse_slurm_time("03:04"), 184);
  for (const char* const none : {"UNLIMITED", "INVALID", "", "5", "1-", "1:2:3:4", "-1:00", "a:b"})
    EXPECT_EQ(parse_slurm_time(none), std::nullopt) << none;
}

constexpr const char* kJob =
    "JobId=12 JobName=x UserId=root(0) Requeue=1 Restarts=0 RunTime=00:10:00 TimeLimit=01:00:00 TimeMin=N/A\n";

TEST(SlurmTime, IsWhatIsLeftOfAJob) {
  EXPECT_EQ(parse_time_left(kJob), 3000);
  EXPECT_EQ(parse_time_left("   RunTime=00:00:01 TimeLimit=UNLIMITED TimeMin=N/A"), std::nullopt);
  EXPECT_EQ(parse_time_left("slurm_load_jobs error"), std::nullopt);
}

TEST(TimeLimit, IsTheSchedulersTheConfigurationsOrTheEarlierOne) {
  EXPECT_FALSE(find(0, {}).limit);
  EXPECT_EQ(find(60, {}).seconds_left(), 57);  // from the start
  const std::string end = std::to_string(kUnixNow + 1000);
  const Found by_slurm = find(0, {{"SLURM_JOB_END_TIME", end}, {"SLURM_JOB_ID", "12"}}, kJob);
  EXPECT_EQ(by_slurm.seconds_left(), 1000);
  EXPECT_EQ(by_slurm.limit->source, "SLURM_JOB_END_TIME");
  EXPECT_EQ(by_slurm.asked, 0);
  EXPECT_EQ(find(60, {{"SLURM_JOB_END_TIME", end}}).limit->source, "limits.wall_time = 60");
  EXPECT_EQ(find(6000, {{"SLURM_JOB_END_TIME", end}}).seconds_left(), 1000);
  const Found asked = find(0, {{"SLURM_JOB_ID", "12"}}, kJob);
  EXPECT_EQ(asked.seconds_left(), 3000);
  EXPECT_EQ(asked.limit->source, "scontrol show job 12");
  EXPECT_FALSE(find(0, {{"SLURM_JOB_ID", "12"}}).limit);  // no answer
  EXPECT_EQ(find(60, {{"SLURM_JOB_ID", "12"}}).seconds_left(), 57);
}

TEST(TimeLimit, IsNotBelievedToBeOver) {
  const Found found = find(0, {{"SLURM_JOB_END_TIME", std::to_string(kUnixNow - 5)}, {"SLURM_JOB_ID", "12"}}, kJob);
  EXPECT_THAT(found.doubts, ElementsAre(HasSubstr("not used")));
  EXPECT_EQ(found.seconds_left(), 3000);
  EXPECT_THAT(find(0, {{"SLURM_JOB_END_TIME", "0"}}).doubts, ElementsAre(HasSubstr("SLURM_JOB_END_TIME = 0")));
  EXPECT_THAT(find(0, {}).doubts, IsEmpty());
}

TEST(AskScontrol, AsksForAJobByNumberAlone) { EXPECT_EQ(ask_scontrol("12; touch /tmp/x"), ""); }

}  // namespace
}  // namespace retain
