#include "trainer/checkpoint/lock.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <array>
#include <cstdlib>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "tests/trainer/checkpoint/fixture.h"

namespace retain::test {
namespace {

using ::testing::HasSubstr;

// Runs the work in a process of its own and gives its exit code: 73 if the lock was refused.
template <class Work>
pid_t start_process(Work&& work) {
  const pid_t pid = ::fork();
  if (pid != 0) return pid;
  try {
    work();
  } catch (const Error& e) {
    ::_exit(e.exit_code());
  }
  ::_exit(0);
}

int exit_code_of(pid_t pid) {
  int status = 0;
  ::waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

// A lock whose process is gone.
void leave_lock_of_a_dead_process(const Path& run) {
  ASSERT_EQ(exit_code_of(start_process([&] {
              new RunLock(run);  // never destroyed: the process ends as if killed
            })),
            0);
  ASSERT_TRUE(std::filesystem::exists(run / "LOCK"));
}

void age(const Path& path, int64_t seconds) {
  timespec times[2] = {{::time(nullptr) - seconds, 0}, {::time(nullptr) - seconds, 0}};
  ASSERT_EQ(::utimensat(AT_FDCWD, path.c_str(), times, 0), 0);
}

TEST(RunLock, RefusesASecondJobNamingTheHolderAndGoesAwayAtTheEnd) {
  const TemporaryDirectory run;
  {
    const RunLock lock(run.path());
    lock.check_held();
    const std::string message = error_of(ErrorKind::kCannotCreate, [&] { const RunLock second(run.path()); });
    EXPECT_THAT(message, HasSubstr(concat("process ", ::getpid(), " on ")));
  }
  EXPECT_TRUE(std::filesystem::is_empty(run.path()));
  const RunLock again(run.path());
}

TEST(RunLock, IsTakenFromADeadProcessAtOnce) {
  const TemporaryDirectory run;
  leave_lock_of_a_dead_process(run.path());
  const RunLock lock(run.path());
  lock.check_held();
}

TEST(RunLock, IsTakenFromAZombie) {
  const TemporaryDirectory run;
  const pid_t pid = start_process([&] { new RunLock(run.path()); });
  siginfo_t info{};
  ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT), 0);  // dead, but not yet collected
  const RunLock lock(run.path());
  lock.check_held();
  exit_code_of(pid);
}

constexpr const char* kElsewhere = "host: elsewhere\npid: 42\njob: 7\nspace: x y\nstarted: 1\nnonce: 0\n";

TEST(RunLock, IsTakenFromAnotherHostWhenItsStampDoesNotMoveAndTheWaitIsTold) {
  const TemporaryDirectory run;
  write_all(run.path() / "LOCK", kElsewhere);
  static_assert(LockTiming{}.quiet_seconds <= 15);
  age(run.path() / "LOCK", static_cast<int64_t>(LockTiming{}.quiet_seconds) - 2);
  std::vector<std::string> said;
  const RunLock lock(run.path(), {}, [&](const std::string& line) { said.push_back(line); });
  lock.check_held();
  EXPECT_THAT(said, ::testing::ElementsAre(::testing::MatchesRegex(
                        ".* was taken by process 42 on elsewhere, job 7, whose last sign of life is 1?[0-9] s old; if "
                        "there is none for [0-9] s, this run takes it over")));
}

TEST(RunLock, OfAnotherHostIsRefusedWhenItsStampMoves) {
  const TemporaryDirectory run;
  write_all(run.path() / "LOCK", kElsewhere);
  std::atomic<bool> over = false;
  std::thread holder([&] {
    for (; !over; ::usleep(1000)) ::utimensat(AT_FDCWD, (run.path() / "LOCK").c_str(), nullptr, 0);
  });
  EXPECT_THAT(error_of(ErrorKind::kCannotCreate, [&] { const RunLock lock(run.path()); }),
              HasSubstr("in use by process 42 on elsewhere, job 7"));
  over = true;
  holder.join();
}

TEST(RunLock, StaysWithAHolderThatStoodStillLongAndLives) {
  const TemporaryDirectory elsewhere, here;
  write_all(elsewhere.path() / "LOCK", kElsewhere);
  const RunLock held(here.path(), {.renew_seconds = 1000});
  for (const Path& run : {elsewhere.path(), here.path()}) {
    age(run / "LOCK", 1000);
    const auto wake_the_holder = [&](const std::string&) { age(run / "LOCK", 0); };
    EXPECT_THAT(error_of(ErrorKind::kCannotCreate, [&] { const RunLock lock(run, {}, wake_the_holder); }),
                HasSubstr("in use by process"));
  }
  held.check_held();
}

TEST(RunLock, OfAFolderThatThisOneWasCopiedFromIsNotInUse) {
  const TemporaryDirectory original, copy;
  const RunLock lock(original.path());
  std::filesystem::copy_file(original.path() / "LOCK", copy.path() / "LOCK");
  const RunLock second(copy.path(), {.watch_seconds = 0, .quiet_seconds = 0.1});
  second.check_held();
  lock.check_held();
  error_of(ErrorKind::kCannotCreate,
           [&] { const RunLock third(original.path(), {.watch_seconds = 0, .quiet_seconds = 0}); });
}

TEST(RunLock, TellsItsOldHolderThatItWasTakenOver) {
  const TemporaryDirectory run;
  const RunLock old(run.path(), {.renew_seconds = 1000});
  age(run.path() / "LOCK", 61);  // as if the holder had been stopped for a minute
  const RunLock lock(run.path(), {.watch_seconds = 0.1});
  lock.check_held();
  EXPECT_THAT(error_of(ErrorKind::kCannotCreate, [&] { old.check_held(); }), HasSubstr("taken over by process"));
}

TEST(RunLock, IsRenewedWhileHeld) {
  const TemporaryDirectory run;
  const RunLock lock(run.path(), {.renew_seconds = 0.01});
  age(run.path() / "LOCK", 1000);
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  error_of(ErrorKind::kCannotCreate, [&] { const RunLock second(run.path()); });
}

// Sets a variable of the environment as long as it lives.
class Variable {
 public:
  Variable(std::string name, const std::string& value) : name_(std::move(name)) {
    if (const char* before = std::getenv(name_.c_str())) before_ = before;
    ::setenv(name_.c_str(), value.c_str(), 1);
  }
  ~Variable() { before_ ? ::setenv(name_.c_str(), before_->c_str(), 1) : ::unsetenv(name_.c_str()); }
  Variable(const Variable&) = delete;
  Variable& operator=(const Variable&) = delete;

 private:
  std::string name_;
  std::optional<std::string> before_;
};

std::string held_elsewhere(const std::string& job, int restarts) {
  return concat("host: elsewhere\npid: 42\njob: ", job, "\nrestarts: ", restarts,
                "\nspace: x y\nstarted: 1\nnonce: 0\n");
}

TEST(RunLock, IsTakenFromAnEarlierLifeOfItsJobOnAnotherHostAtOnce) {
  const TemporaryDirectory run;
  const Variable cluster("SLURM_CLUSTER_NAME", "ours"), job("SLURM_JOB_ID", "7"), count("SLURM_RESTART_COUNT", "2");
  write_all(run.path() / "LOCK", held_elsewhere("7 of ours", 1));
  bool waits = false;
  const RunLock lock(run.path(), {}, [&](const std::string&) { waits = true; });
  lock.check_held();
  EXPECT_FALSE(waits);
}

TEST(RunLock, IsLeftToTheSameLifeALaterOneAndAnotherJobOrCluster) {
  const Variable cluster("SLURM_CLUSTER_NAME", "ours"), job("SLURM_JOB_ID", "7"), count("SLURM_RESTART_COUNT", "2");
  for (const std::string& holder :
       {held_elsewhere("7 of ours", 2), held_elsewhere("7 of ours", 3), held_elsewhere("8 of ours", 1),
        held_elsewhere("7", 1), held_elsewhere("none", 0)}) {
    const TemporaryDirectory run;
    write_all(run.path() / "LOCK", holder);
    std::string said;  // and then the holder gives a sign of life
    const auto wake_the_holder = [&](const std::string& line) {
      said = line;
      age(run.path() / "LOCK", -1);
    };
    error_of(ErrorKind::kCannotCreate, [&] { const RunLock lock(run.path(), {}, wake_the_holder); });
    EXPECT_THAT(said, HasSubstr("was taken by process 42 on elsewhere")) << holder;
  }
}

TEST(RunLock, NamesTheJobOfAnyScheduler) {
  const Variable none("SLURM_JOB_ID", "");
  for (const char* const name : {"PBS_JOBID", "LSB_JOBID", "FLUX_JOB_ID"}) {
    const TemporaryDirectory run;
    const Variable job(name, "f23");
    const RunLock lock(run.path());
    EXPECT_THAT(error_of(ErrorKind::kCannotCreate, [&] { const RunLock second(run.path()); }), HasSubstr("job f23,"));
  }
}

TEST(RunLock, ExactlyOneOfManyNewcomersTakesAStaleLock) {
  constexpr int kNewcomers = 8;
  for (int round = 0; round < 5; ++round) {
    const TemporaryDirectory run;
    leave_lock_of_a_dead_process(run.path());
    std::array<int, 2> answers{}, all_answered{};  // pipes: '1' of whoever has the lock, which it keeps until the end
    ASSERT_TRUE(::pipe(answers.data()) == 0 && ::pipe(all_answered.data()) == 0);
    std::vector<pid_t> processes;
    for (int i = 0; i < kNewcomers; ++i) {
      processes.push_back(start_process([&] {
        ::close(all_answered[1]);
        char end = 0;
        try {
          const RunLock lock(run.path());
          if (::write(answers[1], "1", 1) != 1 || ::read(all_answered[0], &end, 1) != 0) ::_exit(1);
          lock.check_held();
        } catch (const Error&) {
          if (::write(answers[1], "0", 1) != 1) ::_exit(1);
          throw;
        }
      }));
    }
    int holders = 0;
    for (int i = 0; i < kNewcomers; ++i) {
      char answer = 0;
      ASSERT_EQ(::read(answers[0], &answer, 1), 1);
      holders += answer == '1' ? 1 : 0;
    }
    ::close(all_answered[1]);
    int winners = 0;
    for (const pid_t pid : processes) {
      const int code = exit_code_of(pid);
      EXPECT_TRUE(code == 0 || code == 73) << code;
      winners += code == 0 ? 1 : 0;
    }
    EXPECT_EQ(holders, 1);
    EXPECT_EQ(winners, 1);
    for (const int descriptor : {answers[0], answers[1], all_answered[0]}) ::close(descriptor);
  }
}

}  // namespace
}  // namespace retain::test
