// After any single fault at any call of a save, the old or the new step loads, an acknowledged step is never lost, and
// the next save works and leaves no debris. Faults of a live program come from the shim; power cuts are simulated from
// the journal of a whole run. Two deliberately wrong writers show that the sweep would notice. RETAIN_FAULT_FULL=1
// tries every call where the short form takes every few.
#include <sys/wait.h>

#include <cstdlib>

#include "tests/fault/crash_simulator.h"
#include "tests/trainer/checkpoint/fixture.h"

namespace retain::test {
namespace {

using fault::Disk;
using fault::Loss;
using fault::Record;
using Where = TemporaryDirectory::Where;

bool full() { return std::getenv("RETAIN_FAULT_FULL") != nullptr; }

// Runs the program on that many ranks under the shim and gives its exit code (137: killed).
int run_program(const Path& run, int64_t target, int ranks, const std::string& faults, const std::string& mode = "") {
  std::string command =
      concat("env ", faults, " FAULT_DIR=", run.string(), " LD_PRELOAD=" RETAIN_FAULT_SHIM " " RETAIN_FAULT_PROGRAM " ",
             run.string(), " ", target, " ", mode);
  if (ranks > 1)
    command = concat(RETAIN_MPIEXEC " -n ", ranks, " --oversubscribe --bind-to none --mca btl self,tcp ", command);
  const int status = std::system((command + " > " + run.string() + ".out 2>&1").c_str());
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

std::string output_of(const Path& run) { return read_all(run.string() + ".out"); }

int64_t newest_acknowledged(const Path& run) {
  int64_t newest = 0;
  for (int64_t step = 1; step < 20; ++step) {
    if (std::filesystem::exists(run / concat("ack-", step))) newest = step;
  }
  return newest;
}

std::string find_debris(const Path& run) {
  for (const auto& entry : std::filesystem::directory_iterator(checkpoints_directory(run))) {
    const std::string name = entry.path().filename();
    if (name != "latest" && !parse_step_name(name) && !name.starts_with(".bad-")) return name;
  }
  return {};
}

// Goes on from what a crash left: what is wrong with it, or nothing. Acknowledged is the newest step that was promised.
std::string find_violation(const Path& run, int64_t acknowledged, int64_t attempted) {
  std::string problem;
  try {
    run_ranks(1, [&](Communicator& host) {
      const RunLock lock(
          run, {.watch_seconds = 0, .quiet_seconds = 0});  // a torn one of a wrong writer needs no patience here
      const std::optional<Checkpoint> checkpoint = open_newest(host, run, true, ignore_log);
      const int64_t step = checkpoint ? checkpoint->state().step : 0;
      if (step < acknowledged || step > attempted) {
        problem = concat("loads step ", step, ", acknowledged was ", acknowledged);
        return;
      }
      if (checkpoint) {
        const TestLayout layout({}, 0);
        TestState<float> got(layout.whole(), 0), want(layout.whole(), 0);
        want.fill(layout, step);
        read_share(*checkpoint, layout.placements, got.view());
        for (int i = 0; i < kStates; ++i) {
          if (got.values[i] != want.values[i]) problem = concat("step ", step, " loads other values");
        }
      }
      const TestLayout layout({}, 0);
      TestState<float> state(layout.whole(), 0);
      const SaveResult next = CheckpointWriter(host, run, {.keep = 2}, &lock)
                                  .save(test_run_state(step + 1), layout.placements, state.view());
      if (!next.committed || !next.message.empty()) problem = "the next save: " + next.message;
    });
  } catch (const Error& e) {
    problem = e.what();
  }
  const std::string debris = problem.empty() ? find_debris(run) : "";
  return debris.empty() ? problem : "debris: " + debris;
}

// Runs the program from a state with one step to TARGET, then simulates a crash after every call of all its ranks, or
// until a violation that begins with `enough`.
std::vector<std::string> simulate_all_crashes(int ranks, const std::string& faults, const std::string& mode, int seeds,
                                              const std::string& enough = "none") {
  constexpr int64_t kTarget = 3;
  const TemporaryDirectory place(Where::kMemory);
  const Path run = place.path() / "run", journal = place.path() / "journal";
  EXPECT_EQ(run_program(run, 1, ranks, "X=", mode), 0) << output_of(run);
  const Disk before(run);
  EXPECT_EQ(run_program(run, kTarget, ranks, concat("FAULT_JOURNAL=", journal.string(), " ", faults), mode), 0)
      << output_of(run);
  const std::vector<Record> records = fault::read_journal(journal);
  EXPECT_GT(records.size(), 20U);

  std::vector<std::string> violations;
  Disk disk = before;
  int64_t acknowledged = 1;
  int trials = 0;
  bool noticed = false;
  const auto try_crash = [&](const Disk& crashed, size_t at, Loss loss, uint64_t seed, const char* what) {
    if (noticed) return;
    const Path after = place.path() / "after";
    crashed.materialize(after, loss, seed);
    const std::string problem = find_violation(after, acknowledged, kTarget);
    if (!problem.empty())
      violations.push_back(concat(what, " after call ", at, " of ", records.size(), ", seed ", seed, ": ", problem));
    std::filesystem::remove_all(after);
    noticed = !problem.empty() && violations.back().starts_with(enough);
    ++trials;
  };
  for (size_t at = 0; at <= records.size() && !noticed; ++at) {
    try_crash(disk, at, Loss::kNothing, 0, "kill");
    try_crash(disk, at, Loss::kData, 0, "power cut that loses data");
    try_crash(disk, at, Loss::kNames, 0, "power cut that loses data and names");
    for (int seed = 1; seed <= seeds; ++seed) {
      try_crash(disk, at, Loss::kRandom, static_cast<uint64_t>(seed), "power cut that loses a part");
    }
    if (at == records.size()) break;
    if (records[at].header.call == fault::Call::kWrite) {
      Disk torn = disk;
      torn.apply(records[at], true);
      try_crash(torn, at, Loss::kNothing, 0, "kill in the middle of a write");
    }
    disk.apply(records[at]);
    const std::string name = Path(records[at].path).filename();
    if (name.starts_with("ack-")) acknowledged = std::atoll(name.c_str() + 4);
  }
  EXPECT_TRUE(noticed || acknowledged == kTarget);
  std::printf("%d crashes simulated, %zu violations\n", trials, violations.size());
  return violations;
}

TEST(SimulatedCrash, OfOneRankLosesNothingThatWasPromised) {
  EXPECT_THAT(simulate_all_crashes(1, "", "", full() ? 32 : 4), ::testing::IsEmpty());
}

TEST(SimulatedCrash, OfTwoRanksLosesNothingThatWasPromised) {
  EXPECT_THAT(simulate_all_crashes(2, "", "", full() ? 32 : 2), ::testing::IsEmpty());
}

TEST(SimulatedCrash, NoticesAWriterThatForgetsToSync) {
  EXPECT_THAT(simulate_all_crashes(1, "FAULT_NO_SYNC=1", "", 1, "power cut"),
              ::testing::Contains(::testing::HasSubstr("power cut")));
}

TEST(SimulatedCrash, NoticesAWriterInPlace) {
  EXPECT_THAT(simulate_all_crashes(1, "", "in-place", 1, "kill"), ::testing::Contains(::testing::HasSubstr("kill")));
}

// Copies of one run with one step, so that each trial begins alike.
class LiveFault : public ::testing::Test {
 protected:
  void prepare(int ranks) {
    ASSERT_EQ(run_program(start(), 1, ranks, "X="), 0) << output_of(start());
    const Path journal = place_.path() / "journal";
    fresh_copy();
    ASSERT_EQ(run_program(run(), 2, ranks, concat("FAULT_JOURNAL=", journal.string())), 0) << output_of(run());
    calls_.assign(static_cast<size_t>(ranks), 0);
    for (const Record& record : fault::read_journal(journal)) ++calls_[record.header.rank];
  }
  Path start() const { return place_.path() / "start"; }
  Path run() const { return place_.path() / "run"; }
  void fresh_copy() {
    std::filesystem::remove_all(run());
    std::filesystem::copy(start(), run(), std::filesystem::copy_options::recursive);
  }
  // Saves step 2 with a fault, then goes on without one to step 3.
  // Gives the exit code of the run with the fault.
  int try_fault(int ranks, int rank, int64_t at, const std::string& mode, const ::testing::Matcher<int>& exit_code) {
    SCOPED_TRACE(concat(mode, " at call ", at, " of rank ", rank));
    fresh_copy();
    const int code = run_program(run(), 2, ranks, concat("FAULT_AT=", at, " FAULT_RANK=", rank, " FAULT_MODE=", mode));
    EXPECT_THAT(code, exit_code) << output_of(run());
    const int64_t acknowledged = newest_acknowledged(run());
    EXPECT_GE(acknowledged, 1);
    EXPECT_EQ(run_program(run(), 3, ranks, "X="), 0) << output_of(run());
    const bool old_step = output_of(run()).find("resumed 1") != std::string::npos;
    EXPECT_TRUE(acknowledged == 1 || !old_step) << "step 2 was promised and is lost";
    EXPECT_EQ(find_debris(run()), "");
    return code;
  }

  TemporaryDirectory place_{Where::kMemory};
  std::vector<int64_t> calls_;  // of each rank in a run without faults
};

constexpr int kKilled = 137;

TEST_F(LiveFault, KillOfOneRankAtEveryCallIsSurvived) {
  ASSERT_NO_FATAL_FAILURE(prepare(1));
  for (int64_t at = 1; at <= calls_[0]; ++at) {
    if (full() || at % 2 == 0) try_fault(1, 0, at, "kill", ::testing::Eq(kKilled));
    if (full() || at % 2 == 1) try_fault(1, 0, at, "torn", ::testing::Eq(kKilled));
  }
}

TEST_F(LiveFault, FailureOfEveryCallIsReportedOrHarmlessAndSurvived) {
  ASSERT_NO_FATAL_FAILURE(prepare(1));
  int reported = 0;
  for (int64_t at = 1; at <= calls_[0]; ++at) {
    for (const char* mode : {"eio", "enospc"}) {
      if (!full() && (at % 2 == 0) == (mode == std::string_view("eio"))) continue;
      reported += try_fault(1, 0, at, mode, ::testing::AnyOf(0, 73, 74)) != 0 ? 1 : 0;
    }
  }
  EXPECT_GT(2 * reported, calls_[0]) << "most calls matter";
}

// Two saves further, so that retention judges and deletes.
TEST_F(LiveFault, FailureOfEveryReadingCallCostsNoCheckpoint) {
  constexpr int64_t kTarget = 4;
  ASSERT_NO_FATAL_FAILURE(prepare(1));
  const Path count = place_.path() / "count";
  fresh_copy();
  ASSERT_EQ(run_program(run(), kTarget, 1, concat("FAULT_READ_COUNT=", count.string())), 0) << output_of(run());
  const int64_t reads = std::atoll(read_all(count).c_str());
  ASSERT_GT(reads, 50);
  const std::vector<std::string> modes = {"eio", "estale", "emfile", "eacces", "enoent"};
  int reported = 0, failed_lists = 0;
  for (int64_t at = 1; at <= reads; ++at) {
    for (size_t i = 0; i < modes.size(); ++i) {
      if (!full() && static_cast<size_t>(at) % modes.size() != i) continue;
      SCOPED_TRACE(concat(modes[i], " at reading call ", at, " of ", reads));
      fresh_copy();
      const int code =
          run_program(run(), kTarget, 1, concat("FAULT_CALLS=read FAULT_AT=", at, " FAULT_MODE=", modes[i]));
      EXPECT_THAT(code, ::testing::AnyOf(0, 73, 74)) << output_of(run());
      reported += code != 0 ? 1 : 0;
      failed_lists += output_of(run()).find("list " + run().string()) != std::string::npos ? 1 : 0;
      EXPECT_THAT(output_of(run()), ::testing::Not(::testing::AnyOf(::testing::HasSubstr("resumed 0"),
                                                                    ::testing::HasSubstr("is damaged"))));
      EXPECT_THAT(list_set_aside(checkpoints_directory(run())), ::testing::IsEmpty()) << "nothing is damaged";
      const int64_t acknowledged = newest_acknowledged(run());
      for (int64_t step = std::max<int64_t>(1, acknowledged - 1); step <= acknowledged; ++step) {
        EXPECT_EQ(judge_step(checkpoints_directory(run()) / step_name(step), Depth::kFiles).condition,
                  StepCondition::kWhole)
            << step;
      }
      EXPECT_EQ(run_program(run(), kTarget + 1, 1, "X="), 0) << output_of(run());
    }
  }
  EXPECT_GT(4 * reported, reads) << "many calls matter";
  EXPECT_GT(failed_lists, 0) << "the lists of folders are among them";
}

TEST_F(LiveFault, ADiskThatCannotAllocateTakesASaveWithNoMoreWrites) {
  ASSERT_NO_FATAL_FAILURE(prepare(1));
  const auto writes = [&](const std::string& faults) {
    const Path journal = place_.path() / "writes";
    std::filesystem::remove(journal);
    fresh_copy();
    EXPECT_EQ(run_program(run(), 2, 1, concat("FAULT_JOURNAL=", journal.string(), " ", faults)), 0) << output_of(run());
    const std::vector<Record> records = fault::read_journal(journal);
    return std::count_if(records.begin(), records.end(),
                         [](const Record& record) { return record.header.call == fault::Call::kWrite; });
  };
  EXPECT_EQ(writes("FAULT_NO_ALLOCATE=1"), writes(""));
}

TEST_F(LiveFault, KillOfEitherOfTwoRanksUnderMpirunIsSurvived) {
  ASSERT_NO_FATAL_FAILURE(prepare(2));
  for (int rank = 0; rank < 2; ++rank) {
    const int64_t stride = full() ? 1 : std::max<int64_t>(1, calls_[static_cast<size_t>(rank)] / 4);
    for (int64_t at = stride; at <= calls_[static_cast<size_t>(rank)]; at += stride) {
      for (const char* mode : {"kill", "torn"}) {
        if (full() || at % 2 == (mode[0] == 'k')) try_fault(2, rank, at, mode, ::testing::Eq(kKilled));
      }
    }
  }
}

TEST_F(LiveFault, FailureOfEitherOfTwoRanksUnderMpirunIsReportedByAll) {
  ASSERT_NO_FATAL_FAILURE(prepare(2));
  for (int rank = 0; rank < 2; ++rank) {
    const int64_t stride = full() ? 1 : std::max<int64_t>(1, calls_[static_cast<size_t>(rank)] / 4);
    for (int64_t at = stride; at <= calls_[static_cast<size_t>(rank)]; at += stride) {
      try_fault(2, rank, at, "enospc", ::testing::AnyOf(0, 73, 74));
    }
  }
}

}  // namespace
}  // namespace retain::test
