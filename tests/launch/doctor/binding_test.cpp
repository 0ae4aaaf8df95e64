#include "launch/doctor/binding.h"

#include <gtest/gtest.h>

#include <fstream>

#include "tests/launch/doctor/support.h"
#include "trainer/file.h"

namespace retain::test {
namespace {

using namespace checkup;

/// A rank on one machine of 8 processors in two NUMA nodes.
BindingFacts bound(std::vector<int> processors, int threads = 1, std::vector<int> gpu = {}) {
  return {.processors = std::move(processors),
          .machine_processors = 8,
          .threads = threads,
          .numa_nodes = {{0, 1, 2, 3}, {4, 5, 6, 7}},
          .gpu_processors = std::move(gpu)};
}

std::vector<std::string> judged(const ByRank<BindingFacts>& ranks) {
  return lines_of(judge_binding(ranks, Hosts(std::vector<std::string>(ranks.size(), "node"))), "processors");
}
using Lines = std::vector<std::string>;

TEST(DoctorBinding, RanksThatAreWhereTheyShouldBePass) {
  EXPECT_EQ(judged({{0, bound({0, 1, 2, 3}, 4, {0, 1, 2, 3})}, {1, bound({4, 5, 6, 7}, 4, {4, 5, 6, 7})}}),
            Lines{"PASS 4 processors a rank, for 4 threads"});
  EXPECT_EQ(judged({{0, bound({0, 1, 2, 3, 4, 5, 6, 7}, 8)}}), Lines{"PASS 8 processors a rank, for 8 threads"})
      << "alone it may have the whole machine";
}

TEST(DoctorBinding, RanksThatShareAProcessorAreNamed) {
  EXPECT_EQ(judged({{0, bound({0})}, {1, bound({0})}, {2, bound({1})}}),
            Lines{"WARN shares processor 0 with other ranks: ranks 0, 1 on node"});
  // Two jobs of two ranks bound to the same two processors each have one.
  EXPECT_EQ(judged({{0, bound({0, 1})}, {1, bound({0, 1})}}), Lines{"PASS 2 processors a rank, for 1 threads"});
  ByRank<BindingFacts> crowd;
  for (int rank = 0; rank < 9; ++rank) crowd[rank] = bound({0, 1, 2, 3, 4, 5, 6, 7});
  EXPECT_EQ(judged(crowd)[0], "WARN 9 ranks on 8 processors: all 9 ranks");
}

TEST(DoctorBinding, WrongSocketsWanderingAndTooManyThreadsAreNamed) {
  EXPECT_EQ(judged({{0, bound({0, 1}, 1, {4, 5, 6, 7})}, {1, bound({4, 5}, 1, {4, 5, 6, 7})}}),
            Lines{"WARN runs on processors 0, 1, its GPU is beside 4-7: rank 0 on node"});
  EXPECT_EQ(judged({{0, bound({0, 1}, 3)}, {1, bound({4, 5}, 2)}}),
            Lines{"WARN 3 threads on 2 processors: rank 0 on node"});
  EXPECT_EQ(judged({{0, bound({0, 1, 4, 5})}, {1, bound({2, 3})}}),
            Lines{"WARN may wander between NUMA nodes, away from its memory (2 nodes): rank 0 on node"});
}

TEST(DoctorBinding, ReadsWhatTheKernelSays) {
  EXPECT_EQ(read_processor_list("0-2,6"), (std::vector<int>{0, 1, 2, 6}));
  EXPECT_EQ(read_processor_list("5\n"), std::vector<int>{5});
  for (const char* bad : {"", "x", "1-", "3-1", "1,,2", "1-99999999999"})
    EXPECT_TRUE(read_processor_list(bad).empty()) << bad;

  const TemporaryDirectory root;
  const auto write = [&](const std::string& path, const std::string& text) {
    std::filesystem::create_directories((root.path() / path).parent_path());
    std::ofstream(root.path() / path) << text;
  };
  write("sys/devices/system/node/node0/cpulist", "0-3\n");
  write("sys/devices/system/node/node1/cpulist", "4-7\n");
  write("sys/bus/pci/devices/0000:1b:00.0/local_cpulist", "4-7\n");
  const BindingFacts facts = probe_binding(2, "0000:1B:00.0", root.path());
  EXPECT_EQ(facts.numa_nodes, (std::vector<std::vector<int>>{{0, 1, 2, 3}, {4, 5, 6, 7}}));
  EXPECT_EQ(facts.gpu_processors, (std::vector<int>{4, 5, 6, 7}));
  EXPECT_EQ(facts.threads, 2);
  EXPECT_GE(facts.machine_processors, 1);
  EXPECT_FALSE(facts.processors.empty());
  EXPECT_TRUE(probe_binding(1, "", root.path()).gpu_processors.empty());
}

}  // namespace
}  // namespace retain::test
