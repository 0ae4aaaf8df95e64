#include "launch/doctor/finding.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "launch/doctor/printer.h"
#include "tests/launch/doctor/support.h"

namespace retain::test {
namespace {

using namespace checkup;

TEST(Doctor, RanksAreNamedByRangesAndMachines) {
  const Hosts hosts = pairs_of_ranks(8);
  EXPECT_EQ(hosts.describe({3}), "rank 3 on gpu1");
  EXPECT_EQ(hosts.describe({0, 1, 2, 6}), "ranks 0-2, 6 on gpu0, gpu1, gpu3");
  EXPECT_EQ(hosts.describe({0, 1, 2, 3, 4, 5, 6, 7}), "all 8 ranks");
  EXPECT_EQ(pairs_of_ranks(1).describe({0}), "rank 0 on gpu0");
  EXPECT_EQ(ranges({0, 1, 4, 6, 7, 8, 10}), "0, 1, 4, 6-8, 10");
  EXPECT_EQ(ranges({0, 2, 4, 6, 8, 10, 12, 14, 16, 18}), "0, 2, 4, 6, 8, 10, 12, 14, …");
  const Hosts many = pairs_of_ranks(100);
  EXPECT_EQ(
      many.describe({0, 10, 20, 30, 40, 50, 60, 70, 80}),
      "ranks 0, 10, 20, 30, 40, 50, 60, 70, … on gpu0, gpu5, gpu10, gpu15, gpu20, gpu25, gpu30, gpu35 and 1 more");
}

TEST(Doctor, TheOddOneOutIsNamedAfterWhatMostHave) {
  const Hosts hosts = pairs_of_ranks(4);
  EXPECT_EQ(describe_values({{0, "a"}, {1, "a"}, {2, "a"}, {3, "a"}}, hosts), "a");
  const ByRank<std::string> values = {{0, "b"}, {1, "a"}, {2, "a"}, {3, "a"}};
  EXPECT_EQ(describe_values(values, hosts), "a on ranks 1-3 on gpu0, gpu1; b on rank 0 on gpu0");
  EXPECT_EQ(odd_ranks(values), std::vector<int>{0});
  EXPECT_EQ(describe_values({{0, "a"}, {1, "a"}}, hosts), "a on ranks 0, 1 on gpu0") << "two did not answer";
  EXPECT_EQ(describe_values({}, hosts), "unknown");
}

TEST(Doctor, AThingIsSaidOnceWithTheRangeOfItsNumbers) {
  const Hosts hosts = pairs_of_ranks(4);
  Check check("gpus", "heat");
  EXPECT_EQ(line_of(check.findings(hosts, "cool"), "heat"), "PASS cool");
  check.amiss(1, Verdict::kWarn, "warm", "open a window", 81, "C");
  check.amiss(3, Verdict::kWarn, "warm", "open a window", 84.4, "C");
  check.amiss(2, Verdict::kFail, "on fire", "leave");
  const Findings findings = check.findings(hosts, "cool");
  EXPECT_EQ(lines_of(findings, "heat"), (std::vector<std::string>{"WARN warm (81 to 84.4 C): ranks 1, 3 on gpu0, gpu1",
                                                                  "FAIL on fire: rank 2 on gpu1"}));
  EXPECT_EQ(median_of({{0, 1}, {1, 7}, {2, 2}}), 2);
  EXPECT_EQ(median_of({{0, 1}, {1, 7}}), 4);
  EXPECT_EQ(describe_range({{0, 123.4}, {1, 123.4}}, "MB"), "123 MB");
}

TEST(Doctor, PrintsALineAFindingAndCounts) {
  const Hosts hosts = pairs_of_ranks(3);
  const Findings findings = {{Verdict::kPass, "disk", "rename", "works"},
                             {Verdict::kFail, "gpus", "x", "broken: rank 2 on gpu1", "mend it"}};
  EXPECT_EQ(to_text(findings, hosts),
            "3 ranks on 2 machines: gpu0 (0, 1) gpu1 (2)\n"
            "PASS  disk  rename  works\n"
            "FAIL  gpus  x       broken: rank 2 on gpu1\n"
            "                    -> mend it\n"
            "1 passed, 0 warnings, 1 failure\n");
  const auto json = nlohmann::json::parse(to_json(findings, hosts));
  EXPECT_EQ(json["schema"], 1);
  EXPECT_EQ(json["ranks"], 3);
  EXPECT_EQ(json["machines"][1]["host"], "gpu1");
  EXPECT_EQ(json["machines"][0]["ranks"], (std::vector<int>{0, 1}));
  EXPECT_EQ(json["findings"][1]["fix"], "mend it");
  EXPECT_FALSE(json["findings"][0].contains("fix"));
  EXPECT_EQ(json["failures"], 1);
}

}  // namespace
}  // namespace retain::test
