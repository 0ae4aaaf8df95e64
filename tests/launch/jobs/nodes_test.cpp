#include "launch/jobs/nodes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "launch/jobs/job_folder.h"
#include "trainer/file.h"

namespace retain::test {
namespace {

using ::testing::ElementsAre;
using ::testing::EndsWith;

TEST(Nodes, AHostfileNamesEachHostOnce) {
  EXPECT_THAT(hosts_in("# all\nnode1 slots=8\n\n  node2   max_slots=4 # spare\nnode1\n10.0.0.3"),
              ElementsAre("node1", "node2", "10.0.0.3"));
  EXPECT_TRUE(hosts_in("\n# nothing\n").empty());
}

TEST(JobFolder, JobsAreNumberedAndKeptWithTheirConfiguration) {
  const TemporaryDirectory run;
  const JobFolder folder(run.path().string());
  EXPECT_THAT(folder.next(), EndsWith("/jobs/0001"));
  Job job{.name = "x", .run = run.path().string(), .files = folder.next(), .program = "retain"};
  EXPECT_THAT(folder.keep(job, "a: b\n"), EndsWith("/jobs/0001.sbatch"));
  EXPECT_EQ(read_text(File::open(job.files + ".yaml"), 100), "a: b\n");
  EXPECT_EQ(read_text(File::open(job.files + ".sbatch"), 10'000), job_text(job));
  EXPECT_THAT(folder.next(), EndsWith("/jobs/0002"));
  EXPECT_THROW(folder.keep(job, ""), Error);  // it is there
}

}  // namespace
}  // namespace retain::test
