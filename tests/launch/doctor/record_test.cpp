// Probes that fail, throw or hang, and ranks that do not answer.
#include "launch/doctor/record.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>

#include "kernels/core/error.h"
#include "launch/doctor/stage_clock.h"
#include "tests/launch/doctor/support.h"
#include "tests/support/ranks.h"

namespace retain::test {
namespace {

using namespace checkup;
using std::chrono::milliseconds;
using std::chrono::seconds;

TEST(DoctorRecord, AProbeThatThrowsCostsItsGroupAlone) {
  Record record;
  record.observe("good", [] { return 7; });
  record.observe("bad", []() -> int { throw Error(ErrorKind::kIo, "no such disk"); });
  record.observe_within(seconds(60), "fine", [] { return std::string("text"); });
  record.observe_within(seconds(60), "worse", []() -> int { throw std::runtime_error("no such luck"); });
  const Record back = Record::read(record.text());
  EXPECT_EQ(back.facts().at("good").get<int>(), 7);
  EXPECT_EQ(back.facts().at("fine").get<std::string>(), "text");
  EXPECT_EQ(back.failures(), (std::map<std::string, std::string>{{"bad", "no such disk"}, {"worse", "no such luck"}}));
  EXPECT_FALSE(record.left_behind());
  ByRank<Record> records = {{0, Record()}, {1, back}, {2, back}};
  EXPECT_EQ(facts_of<int>(records, "good"), (ByRank<int>{{1, 7}, {2, 7}}));
  EXPECT_EQ(lines_of(judge_failures(records, pairs_of_ranks(3)), "probe"),
            (std::vector<std::string>{"FAIL no such disk: ranks 1, 2 on gpu0, gpu1",
                                      "FAIL no such luck: ranks 1, 2 on gpu0, gpu1"}));
}

TEST(DoctorRecord, AProbeThatHangsIsLeftBehind) {
  auto released = std::make_shared<std::promise<void>>();
  Record record;
  record.observe_within(milliseconds(50), "disk", [until = released->get_future().share()] {
    until.wait();
    return 1;
  });
  released->set_value();  // its thread ends with this test
  EXPECT_TRUE(record.left_behind());
  EXPECT_EQ(record.failures().at("disk"), "was not over after 0 s");
}

TEST(DoctorRecord, RankZeroKnowsForWhomItWaits) {
  const Hosts hosts = pairs_of_ranks(3);
  std::promise<std::string> expired;
  const std::shared_future<std::string> stage = expired.get_future().share();
  run_ranks(3, [&](Communicator& host) {
    StageClock clock([&](const std::string& late) { expired.set_value(late); });
    Record mine;
    mine.observe("rank", [&] { return host.rank(); });
    if (host.rank() == 1) stage.wait();  // rank 1 answers when rank 0's patience is over
    const ByRank<Record> records =
        collect(host, hosts, clock, host.rank() == 0 ? milliseconds(100) : milliseconds(60'000), mine);
    if (host.rank() != 0) return;
    EXPECT_EQ(facts_of<int>(records, "rank"), (ByRank<int>{{0, 0}, {1, 1}, {2, 2}}));
  });
  EXPECT_EQ(stage.get(), "waiting for rank 1 on gpu0");
}

TEST(DoctorRecord, AClockThatRestsDoesNotExpire) {
  std::atomic<int> expired = 0;
  {
    StageClock clock([&](const std::string&) { ++expired; });
    clock.enter("one", seconds(60));
    clock.enter("two", seconds(60));
    clock.rest();
  }
  EXPECT_EQ(expired, 0);
}

}  // namespace
}  // namespace retain::test
