// How many threads a rank gets under each limit, and what is read of them: the limits of control groups from folders
// made like /proc and /sys.
#include "kernels/core/processors.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <cstdlib>
#include <fstream>
#include <thread>

namespace retain {
namespace {

TEST(ThreadsOfRank, AreAnEvenPartOfTheHostsProcessors) {
  EXPECT_EQ(threads_of_rank({.own = 16, .host = 16}, 1), 16);
  EXPECT_EQ(threads_of_rank({.own = 16, .host = 16}, 3), 5);
  EXPECT_EQ(threads_of_rank({.own = 2, .host = 2}, 4), 1);
}

TEST(ThreadsOfRank, AreNoMoreThanTheRanksOwnProcessors) {
  EXPECT_EQ(threads_of_rank({.own = 4, .host = 16}, 4), 4);  // each bound to four
  EXPECT_EQ(threads_of_rank({.own = 1, .host = 16}, 4), 1);
}

TEST(ThreadsOfRank, ShareTheQuotaOfTheirControlGroup) {
  EXPECT_EQ(threads_of_rank({.own = 16, .host = 16, .quota = 4.0}, 1), 4);
  EXPECT_EQ(threads_of_rank({.own = 16, .host = 16, .quota = 4.5}, 2), 2);
  EXPECT_EQ(threads_of_rank({.own = 16, .host = 16, .quota = 0.5}, 1), 1);
}

TEST(ThreadsOfRank, AreNoMoreThanOmpNumThreadsForEachRank) {
  EXPECT_EQ(threads_of_rank({.own = 16, .host = 16, .omp_num_threads = 3}, 1), 3);
  EXPECT_EQ(threads_of_rank({.own = 16, .host = 16, .omp_num_threads = 3}, 4), 3);
  EXPECT_EQ(threads_of_rank({.own = 16, .host = 16, .omp_num_threads = 99}, 4), 4);
}

class ReadLimits : public ::testing::Test {
 protected:
  void SetUp() override { std::filesystem::create_directories(root_ / "proc/self"); }
  void TearDown() override { std::filesystem::remove_all(root_); }
  void put(const std::string& name, const std::string& text) {
    std::filesystem::create_directories((root_ / name).parent_path());
    std::ofstream(root_ / name) << text;
  }
  std::filesystem::path root_ = std::filesystem::path(::testing::TempDir()) / "retain_processors_test";
};

TEST_F(ReadLimits, TheQuotaIsThatOfTheTightestGroup) {
  EXPECT_EQ(read_processor_limits(root_).quota, std::nullopt);
  put("proc/self/cgroup", "1:cpu:/old\n0::/slurm/job_7\n");
  put("sys/fs/cgroup/slurm/job_7/cpu.max", "max 100000\n");
  EXPECT_EQ(read_processor_limits(root_).quota, std::nullopt);
  put("sys/fs/cgroup/slurm/cpu.max", "250000 100000\n");
  EXPECT_EQ(read_processor_limits(root_).quota, 2.5);
  put("sys/fs/cgroup/slurm/job_7/cpu.max", "150000 100000\n");
  EXPECT_EQ(read_processor_limits(root_).quota, 1.5);
}

TEST_F(ReadLimits, AContainerSeesItsGroupAtTheTop) {
  put("proc/self/cgroup", "0::/docker/0123abcd\n");
  put("sys/fs/cgroup/cpu.max", "300000 100000\n");
  EXPECT_EQ(read_processor_limits(root_).quota, 3.0);
}

TEST_F(ReadLimits, OwnProcessorsAreThoseOfTheThreadsAffinity) {
  std::thread([&] {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(static_cast<size_t>(sched_getcpu()), &one);
    ASSERT_EQ(sched_setaffinity(0, sizeof(one), &one), 0);
    EXPECT_EQ(read_processor_limits(root_).own, 1);
    EXPECT_EQ(read_processor_limits(root_).host, 1);
  }).join();
}

TEST_F(ReadLimits, OmpNumThreadsMayBeAListAndIsIgnoredWhereItIsNoNumber) {
  const char* const before = std::getenv("OMP_NUM_THREADS");
  const std::string kept = before ? before : "";
  setenv("OMP_NUM_THREADS", "6,2", 1);
  EXPECT_EQ(read_processor_limits(root_).omp_num_threads, 6);
  setenv("OMP_NUM_THREADS", "many", 1);
  EXPECT_EQ(read_processor_limits(root_).omp_num_threads, std::nullopt);
  if (before) {
    setenv("OMP_NUM_THREADS", kept.c_str(), 1);
  } else {
    unsetenv("OMP_NUM_THREADS");
  }
}

}  // namespace
}  // namespace retain
