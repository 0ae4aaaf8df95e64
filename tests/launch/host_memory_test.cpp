// What is left of a machine's memory under the limits of control groups, read from folders made like /proc and /sys.
#include "launch/host_memory.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <fstream>

#include "tests/support/tiny_run.h"

namespace retain::test {
namespace {

constexpr int64_t kGib = int64_t{1} << 30;

class HostMemory : public ::testing::Test {
 protected:
  void put(const std::string& name, const std::string& text) {
    const std::filesystem::path file = std::filesystem::path(directory_.path()) / name;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }
  void put_machine(int64_t available_bytes) {
    put("proc/meminfo",
        concat("MemTotal:  999999999 kB\nMemFree:  1 kB\nMemAvailable:  ", available_bytes >> 10, " kB\n"));
  }
  void put_group(const std::string& folder, const std::string& limit, int64_t usage_bytes, int64_t cache_bytes = 0) {
    put("sys/fs/cgroup/" + folder + "/memory.max", limit + "\n");
    put("sys/fs/cgroup/" + folder + "/memory.current", concat(usage_bytes, "\n"));
    put("sys/fs/cgroup/" + folder + "/memory.stat",
        concat("anon 5\ninactive_file ", cache_bytes / 2, "\nactive_file ", cache_bytes / 2, "\n"));
  }
  std::optional<int64_t> available() const { return available_memory_bytes(directory_.path()); }

 private:
  TemporaryDirectory directory_;
};

TEST_F(HostMemory, IsWhatTheSystemSaysWhereThereIsNoLimit) {
  EXPECT_EQ(available(), std::nullopt);
  put_machine(64 * kGib);
  EXPECT_EQ(available(), 64 * kGib);
  put("proc/self/cgroup", "0::/job\n");
  EXPECT_EQ(available(), 64 * kGib);
  put_group("job", "max", 3 * kGib);
  EXPECT_EQ(available(), 64 * kGib);
}

TEST_F(HostMemory, IsWhatTheTightestGroupLeaves) {
  put_machine(64 * kGib);
  put("proc/self/cgroup", "0::/slurm/job_7/step_0/task_1\n");
  put_group("slurm/job_7/step_0/task_1", "max", kGib);
  put_group("slurm/job_7", std::to_string(16 * kGib), 6 * kGib);
  put_group("slurm", std::to_string(40 * kGib), 20 * kGib);
  EXPECT_EQ(available(), 10 * kGib);
  put_machine(4 * kGib);
  EXPECT_EQ(available(), 4 * kGib);
  put_group("slurm", std::to_string(40 * kGib), 41 * kGib);
  EXPECT_EQ(available(), 0);
}

TEST_F(HostMemory, CountsPageCacheAsLeft) {
  put_machine(64 * kGib);
  put("proc/self/cgroup", "0::/job\n");
  put_group("job", std::to_string(16 * kGib), 15 * kGib, 12 * kGib);
  EXPECT_EQ(available(), 13 * kGib);
}

TEST_F(HostMemory, AContainerSeesItsGroupAtTheTop) {
  put_machine(64 * kGib);
  put("proc/self/cgroup", "0::/docker/0123abcd\n");
  put_group("", std::to_string(8 * kGib), kGib);
  EXPECT_EQ(available(), 7 * kGib);
}

TEST_F(HostMemory, IsWhatAStrictKernelStillPromises) {
  put("proc/meminfo", "MemAvailable:  1048576 kB\nCommitLimit:  3000 kB\nCommitted_AS:  1000 kB\n");
  EXPECT_EQ(available(), kGib);
  put("proc/sys/vm/overcommit_memory", "0\n");
  EXPECT_EQ(available(), kGib);
  put("proc/sys/vm/overcommit_memory", "2\n");
  EXPECT_EQ(available(), 2000 << 10);
  put("proc/meminfo", "MemAvailable:  1048576 kB\nCommitLimit:  3000 kB\nCommitted_AS:  4000 kB\n");
  EXPECT_EQ(available(), 0);
}

TEST(ProcessLimits, AreNoneWhereNoneIsSet) {
  EXPECT_NO_THROW(check_stack_limit());
  rlimit limit{};
  ASSERT_EQ(getrlimit(RLIMIT_AS, &limit), 0);
  if (limit.rlim_cur != RLIM_INFINITY) GTEST_SKIP() << "this process has a limit of addresses";
  EXPECT_NO_THROW(check_address_limit(int64_t{1} << 60, 1000));
}

}  // namespace
}  // namespace retain::test
