// Saves that go on in the background, and saves that fail.
#include <sys/resource.h>

#include <csignal>
#include <cstdlib>

#include "tests/trainer/checkpoint/fixture.h"
#include "trainer/checkpoint/hdf5.h"

namespace retain::test {
namespace {

using ::testing::HasSubstr;

std::vector<std::string> names_in(const Path& directory) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) names.push_back(entry.path().filename());
  std::sort(names.begin(), names.end());
  return names;
}

TEST(CheckpointWriter, GoesOnInTheBackgroundAndAllRanksGetTheOutcomeAtTheSamePoll) {
  const TemporaryDirectory run;
  const MeshShape mesh{3, 1, 1};
  std::vector<int> polls(3);
  run_ranks(3, [&](Communicator& host) {
    const TestLayout layout(mesh, 0);
    CheckpointWriter writer(host, run.path(), {});
    EXPECT_FALSE(writer.poll());
    EXPECT_FALSE(writer.finish());
    TestState<float> state(layout.share(mesh, host.rank()), 0);
    for (int64_t step = 1; step <= 3; ++step) {
      state.fill(layout, step);
      writer.begin(test_run_state(step, mesh), layout.placements, state.view());
      EXPECT_TRUE(writer.in_flight());
      std::optional<SaveResult> result;
      while (!result) {
        result = writer.poll();
        ++polls[static_cast<size_t>(host.rank())];
      }
      EXPECT_TRUE(result->committed) << result->message;
      EXPECT_EQ(result->step, step);
      EXPECT_EQ(result->path, run.path() / "checkpoints" / step_name(step));
      EXPECT_FALSE(writer.in_flight());
    }
  });
  EXPECT_EQ(polls[0], polls[1]);
  EXPECT_EQ(polls[0], polls[2]);
}

TEST(CheckpointWriter, FailureOfOneRankFailsTheSaveOnAllNamingIt) {
  const TemporaryDirectory run;
  run_ranks(3, [&](Communicator& host) {
    const MeshShape mesh{3, 1, 1};
    EXPECT_EQ(save_on<float>(host, mesh, run.path(), 1).message, "");
    const TestLayout layout(mesh, 0);
    TestState<float> state(layout.share(mesh, host.rank()), 0);
    FlatState view = state.view();
    if (host.rank() == 1) view.v = view.v.slice(0, 0, 1);  // what cannot be written
    CheckpointWriter writer(host, run.path(), {});
    const SaveResult result = writer.save(test_run_state(2, mesh), layout.placements, view);
    EXPECT_FALSE(result.committed);
    EXPECT_THAT(result.message, HasSubstr("step 2 was not saved: rank 1: "));
    EXPECT_EQ(open_newest(host, run.path(), false, ignore_log)->state().step, 1);
    EXPECT_EQ(save_on<float>(host, mesh, run.path(), 3).message, "") << "the next save works";
  });
  EXPECT_EQ(names_in(run.path() / "checkpoints"),
            (std::vector<std::string>{"latest", "step-00000001", "step-00000003"}));
}

TEST(CheckpointWriter, MakesRoomBeforeASaveWhereThatIsAllowedAndOneThatIsKnownToBeGoodStays) {
  for (const int keep : {1, 2, 3}) {
    const TemporaryDirectory run;
    run_ranks(2, [&](Communicator& host) {
      const MeshShape mesh{2, 1, 1};
      const TestLayout layout(mesh, 0);
      TestState<float> state(layout.share(mesh, host.rank()), 0);
      CheckpointWriter writer(host, run.path(), {.keep = keep, .before_save = true});
      for (int64_t step = 1; step <= 4; ++step) {
        writer.begin(test_run_state(step, mesh), layout.placements, state.view(), [&] {
          const std::vector<StepEntry> steps = list_steps(run.path() / "checkpoints");
          EXPECT_EQ(std::ssize(steps), std::min<int64_t>(step - 1, std::max(1, keep - 1)));
        });
        const SaveResult result = *writer.finish();
        EXPECT_TRUE(result.committed) << result.message;
        EXPECT_EQ(result.deleted.size(), host.rank() == 0 && step > keep ? 1U : 0U);
      }
      EXPECT_EQ(std::ssize(list_steps(run.path() / "checkpoints")), keep);
    });
  }
}

// A step that nobody has read yet may be damaged: the ones before it stay until it is superseded.
TEST(CheckpointWriter, MakesNoRoomForWhatComesAfterAStepThatItDoesNotKnow) {
  const TemporaryDirectory run;
  run_ranks(1, [&](Communicator& host) {
    const MeshShape mesh{1, 1, 1};
    for (int64_t step = 1; step <= 2; ++step) EXPECT_EQ(save_on<float>(host, mesh, run.path(), step).message, "");
    CheckpointWriter writer(host, run.path(), {.keep = 2, .before_save = true});
    EXPECT_THAT(writer.make_room_for_first(), ::testing::IsEmpty());
    EXPECT_EQ(list_steps(run.path() / "checkpoints").size(), 2U);
    writer.remember_whole(run.path() / "checkpoints/step-00000002", 0);
    EXPECT_THAT(writer.make_room_for_first(), ::testing::ElementsAre(HasSubstr("deleted step-00000001")));
    EXPECT_EQ(list_steps(run.path() / "checkpoints").size(), 1U);
  });
}

TEST(CheckpointWriter, TellsHowLongItIsWaitedFor) {
  const TemporaryDirectory run;
  run_ranks(1, [&](Communicator& host) {
    const MeshShape mesh{1, 1, 1};
    const TestLayout layout(mesh, 0);
    TestState<float> state(layout.share(mesh, 0), 0);
    CheckpointWriter writer(host, run.path(), {});
    std::atomic<bool> enough = false;
    writer.begin(test_run_state(1, mesh), layout.placements, state.view(), [&] {
      while (!enough) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    });
    double waited = 0;
    const auto result = writer.finish([&](double seconds) {
      waited = seconds;
      enough = true;
    });
    EXPECT_TRUE(result->committed);
    EXPECT_GE(waited, 1);
  });
}

TEST(CheckpointWriter, ReadsTheStateWhenItHasCome) {
  const TemporaryDirectory run;
  run_ranks(2, [&](Communicator& host) {
    const MeshShape mesh{2, 1, 1};
    const TestLayout layout(mesh, 0);
    TestState<float> state(layout.share(mesh, host.rank()), 0);
    CheckpointWriter writer(host, run.path(), {});
    const std::thread::id here = std::this_thread::get_id();
    writer.begin(test_run_state(1, mesh), layout.placements, state.view(), [&] {
      EXPECT_NE(std::this_thread::get_id(), here);
      state.fill(layout, 1);
    });
    EXPECT_TRUE(writer.finish()->committed);
    expect_newest_loads<float>(host, run.path(), mesh, true, 1);
  });
}

TEST(CheckpointWriter, AStateThatDoesNotComeFailsTheSaveOnAllRanks) {
  const TemporaryDirectory run;
  run_ranks(2, [&](Communicator& host) {
    const MeshShape mesh{2, 1, 1};
    EXPECT_EQ(save_on<float>(host, mesh, run.path(), 1).message, "");
    const TestLayout layout(mesh, 0);
    TestState<float> state(layout.share(mesh, host.rank()), 0);
    CheckpointWriter writer(host, run.path(), {});
    writer.begin(test_run_state(2, mesh), layout.placements, state.view(), [&] {
      if (host.rank() == 1) throw Error(ErrorKind::kDevice, "the GPU is gone");
    });
    const SaveResult result = *writer.finish();
    EXPECT_FALSE(result.committed);
    EXPECT_EQ(result.kind, ErrorKind::kDevice);
    EXPECT_THAT(result.message, HasSubstr("step 2 was not saved: rank 1: the GPU is gone"));
    EXPECT_EQ(open_newest(host, run.path(), false, ignore_log)->state().step, 1);
  });
}

TEST(CheckpointWriter, DestroyedInFlightCommitsNothing) {
  const TemporaryDirectory run;
  run_ranks(2, [&](Communicator& host) {
    const MeshShape mesh{2, 1, 1};
    const TestLayout layout(mesh, 0);
    TestState<float> state(layout.share(mesh, host.rank()), 0);
    CheckpointWriter(host, run.path(), {}).begin(test_run_state(2, mesh), layout.placements, state.view());
    host.barrier();
    EXPECT_FALSE(open_newest(host, run.path(), false, ignore_log));
  });
  delete_all_debris(run.path() / "checkpoints");
  EXPECT_TRUE(names_in(run.path() / "checkpoints").empty());
}

TEST(CheckpointWriter, RefusesToCommitAfterItsLockWasTakenOver) {
  const TemporaryDirectory run;
  run_ranks(2, [&](Communicator& host) {
    std::optional<RunLock> lock;
    if (host.rank() == 0) lock.emplace(run.path());
    const MeshShape mesh{2, 1, 1};
    const TestLayout layout(mesh, 0);
    TestState<float> state(layout.share(mesh, host.rank()), 0);
    CheckpointWriter writer(host, run.path(), {}, lock ? &*lock : nullptr);
    EXPECT_TRUE(writer.save(test_run_state(1, mesh), layout.placements, state.view()).committed);
    if (host.rank() == 0) replace_file(run.path() / "LOCK", "host: elsewhere\npid: 42\njob: 7\n");
    host.barrier();
    const SaveResult result = writer.save(test_run_state(2, mesh), layout.placements, state.view());
    EXPECT_FALSE(result.committed);
    EXPECT_EQ(result.kind, ErrorKind::kCannotCreate);
    EXPECT_THAT(result.message, HasSubstr("taken over by process 42 on elsewhere, job 7"));
    host.barrier();
  });
  EXPECT_EQ(names_in(run.path() / "checkpoints"), (std::vector<std::string>{"latest", "step-00000001"}));
}

// Lowers RLIMIT_FSIZE; every write past it fails with EFBIG, as a full disk does with ENOSPC.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit{bytes, before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    handler_ = std::signal(SIGXFSZ, SIG_IGN);
  }
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;

 private:
  rlimit before_{};
  void (*handler_)(int) = nullptr;
};

TEST(CheckpointWriter, SurvivesEveryFileSizeLimit) {
  const TemporaryDirectory run(TemporaryDirectory::Where::kMemory);
  int64_t largest = 0;
  run_ranks(1, [&](Communicator& host) { EXPECT_EQ(save_on<float>(host, {}, run.path(), 1).message, ""); });
  for (const auto& entry : std::filesystem::directory_iterator(run.path() / "checkpoints" / step_name(1))) {
    largest = std::max(largest, static_cast<int64_t>(entry.file_size()));
  }
  int failed = 0;
  for (int64_t limit = 0; limit < largest + (32 << 10); limit += 509) {
    SaveResult result;
    {
      const FileSizeLimit limited(static_cast<rlim_t>(limit));
      run_ranks(1, [&](Communicator& host) { result = save_on<float>(host, {}, run.path(), 2); });
    }
    if (result.committed) continue;
    ++failed;
    ASSERT_EQ(result.kind, ErrorKind::kIo) << result.message;
    ASSERT_THAT(result.message, ::testing::ContainsRegex("shard-00000-of-00001.h5|global.h5|manifest.json")) << limit;
    ASSERT_EQ(names_in(run.path() / "checkpoints").back(), "step-00000001");
  }
  EXPECT_GT(failed, 100);
  run_ranks(1, [&](Communicator& host) {
    EXPECT_EQ(open_newest(host, run.path(), false, ignore_log)->state().step, 2) << "the largest limits let it through";
  });
}

// A limit that comes while a shard is laid out; libhdf5 alone would crash at the end of the program.
TEST(CheckpointWriterDeathTest, ALayoutThatFailsLeavesAProgramThatEndsWell) {
  const auto lay_out = [] {
    const FileSizeLimit limited(1000);
    const Outcome outcome = attempt([] {
      make_shard_skeleton(DType::kFloat32, 1, {{"/param/a/master", {100, 100}, {0, 0}, {100, 100}}});
    });
    std::exit(outcome.ok ? 0 : static_cast<int>(outcome.kind));
  };
  EXPECT_EXIT(lay_out(), ::testing::ExitedWithCode(static_cast<int>(ErrorKind::kIo)), "");
}

TEST(CheckCanSave, NamesThePathThatCannotBeCreated) {
  const TemporaryDirectory run;
  write_all(run.path() / "file", "x");
  run_ranks(2, [&](Communicator& host) {
    check_can_save(host, run.path() / "new", 1 << 20);
    EXPECT_THAT(error_of(ErrorKind::kCannotCreate, [&] { check_can_save(host, run.path() / "file", 1 << 20); }),
                HasSubstr((run.path() / "file").string()));
    // More than any disk has.
    EXPECT_THAT(error_of(ErrorKind::kIo, [&] { check_can_save(host, run.path() / "new", int64_t{1} << 50); }),
                HasSubstr("cannot save to"));
  });
  EXPECT_TRUE(names_in(run.path() / "new" / "checkpoints").empty());
}

}  // namespace
}  // namespace retain::test
