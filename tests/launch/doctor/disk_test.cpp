#include "launch/doctor/disk.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "tests/launch/doctor/support.h"
#include "trainer/file.h"

namespace retain::test {
namespace {

using namespace checkup;

DiskFacts well() {
  DiskFacts disk;
  disk.path = "/runs";
  disk.file_system = "lustre";
  disk.write_megabytes = disk.read_megabytes = 400;
  disk.sync_seconds = 0.01;
  return disk;
}

TEST(DoctorDisk, EachThingThatCanBeAmissIsNamed) {
  const Hosts hosts = pairs_of_ranks(4);
  const auto with_sick = [&](const char* check, const std::function<void(DiskFacts&)>& sicken) {
    ByRank<DiskFacts> ranks = on_ranks(4, well());
    sicken(ranks[2]);
    return line_of(judge_disk(ranks, hosts), check);
  };
  const auto nothing = [](DiskFacts&) {};
  EXPECT_EQ(with_sick("use", nothing), "PASS /runs (lustre): write, read, lock, rename work");
  EXPECT_EQ(with_sick("write", nothing), "PASS 800 MB/s a machine, fsync included");
  EXPECT_EQ(with_sick("fallocate", nothing), "PASS works");
  for (const auto& [what, text] :
       std::map<std::string, std::string>{{"share", "not the directory that rank 0 sees"},
                                          {"write", "cannot be written"},
                                          {"read", "what was written cannot be read"},
                                          {"sync", "what is written cannot be made durable (fsync)"},
                                          {"allocate", "space cannot be taken beforehand"},
                                          {"lock", "locks and second names of files do not work"},
                                          {"rename", "files cannot be renamed"}}) {
    EXPECT_EQ(with_sick("use", [&](DiskFacts& disk) { disk.problems[what] = "why"; }),
              "FAIL /runs: " + text + ": why: rank 2 on gpu1");
  }
  EXPECT_EQ(with_sick("fallocate", [](DiskFacts& disk) { disk.allocates = false; }),
            "WARN not there: a full disk shows only while a checkpoint is written: rank 2 on gpu1");
  EXPECT_EQ(with_sick("fsync", [](DiskFacts& disk) { disk.sync_seconds = 3; }),
            "WARN slow (3 s for 4 KiB): rank 2 on gpu1");
  EXPECT_EQ(with_sick("data", [](DiskFacts& disk) { disk.data_megabytes = 500; }), "PASS 500 MB/s a rank");
  EXPECT_EQ(with_sick("data", [](DiskFacts& disk) { disk.data_megabytes = 0.5; }),
            "WARN slow for training (0.5 MB/s): rank 2 on gpu1");

  ByRank<DiskFacts> slow = on_ranks(4, well());
  for (const int rank : {2, 3}) slow[rank].write_megabytes = slow[rank].read_megabytes = 20;
  EXPECT_EQ(line_of(judge_disk(slow, hosts), "write"),
            "WARN slow for checkpoints (40 MB/s of its machine): rank 2 on gpu1");
  EXPECT_EQ(line_of(judge_disk(slow, hosts), "read"),
            "WARN slow for a resume (40 MB/s of its machine): rank 2 on gpu1");
}

TEST(DoctorDisk, RoomForThePlannedCheckpointsIsJudged) {
  const Retention retention{.keep = 2};
  DiskPlan plan;
  plan.one_bytes = 1'000'000'000;
  plan.most_count = 3;
  plan.most_bytes = 3'000'000'000;
  plan.end_count = 2;
  plan.end_bytes = 2'000'000'000;
  EXPECT_EQ(judge_room(plan, retention).verdict, Verdict::kPass) << "nobody knows how much is free";
  plan.free_bytes = 2'500'000'000;
  EXPECT_EQ(judge_room(plan, retention).value,
            "2.50 GB free; a checkpoint takes 1.00 GB, up to 3 at once 3.00 GB, 2 at the end 2.00 GB");
  plan.lacks_at = 12;
  plan.lacking_bytes = 500'000'000;
  const Finding later = judge_room(plan, retention);
  EXPECT_EQ(later.verdict, Verdict::kWarn);
  EXPECT_EQ(later.value.substr(0, 49), "the checkpoint of step 12 will not fit: 500.00 MB") << later.value;
  EXPECT_EQ(later.fix, "Keep fewer, free some, or put run.dir on another disk");
  plan.lacks_at_first = true;
  EXPECT_EQ(judge_room(plan, retention).verdict, Verdict::kFail);
}

TEST(DoctorDisk, AFolderOfThisMachineIsUsedAndLeftAsItWas) {
  const TemporaryDirectory directory;
  const std::filesystem::path folder = make_probe_folder(directory.path() / "run" / "deep");
  EXPECT_EQ(folder.parent_path(), std::filesystem::canonical(directory.path())) << "the run's own is not made";
  const DiskFacts facts = probe_disk(folder, 3, 4);
  EXPECT_TRUE(facts.problems.empty()) << facts.problems.begin()->first << ": " << facts.problems.begin()->second;
  EXPECT_GT(facts.write_megabytes, 0);
  EXPECT_GT(facts.read_megabytes, 0);
  EXPECT_GT(facts.sync_seconds, 0);
  EXPECT_TRUE(std::filesystem::is_empty(folder));
  std::filesystem::remove(folder);
  EXPECT_EQ(probe_disk(folder, 0, 1).problems.count("share"), 1U);

  std::filesystem::create_directory(folder);
  write_new_file(folder / "rank-00005", "taken");
  EXPECT_EQ(probe_disk(folder, 5, 6).problems.count("write"), 1U);

  write_new_file(directory.path() / "tokens.bin", std::string(3'000'000, 't'));
  EXPECT_GT(probe_data(directory.path() / "tokens.bin"), 0);
}

}  // namespace
}  // namespace retain::test
