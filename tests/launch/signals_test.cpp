// What signals do to a process, by processes of their own.
#include "launch/signals.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <filesystem>
#include <functional>
#include <thread>

#include "trainer/new_folder.h"

namespace retain {
namespace {

using std::chrono::milliseconds;

/// A process in which a library spins: nothing is ever done but what handlers do.
class Spinning {
 public:
  explicit Spinning(const std::function<void(SignalWishes&)>& turn = [](SignalWishes&) {}) {
    std::array<int, 2> ready{};
    EXPECT_EQ(::pipe(ready.data()), 0);
    pid_ = ::fork();
    if (pid_ == 0) {
      const rlimit none{};
      ::setrlimit(RLIMIT_CORE, &none);
      SignalWishes signals;
      static_cast<void>(!::write(ready[1], "x", 1));
      for (;;) {
        ::usleep(1000);
        turn(signals);
      }
    }
    char byte = 0;
    EXPECT_EQ(::read(ready[0], &byte, 1), 1);
    for (const int end : ready) ::close(end);
  }
  ~Spinning() {
    ::kill(pid_, SIGKILL);
    end();
  }
  Spinning(const Spinning&) = delete;
  Spinning& operator=(const Spinning&) = delete;

  void tell(int signal) const {
    ::kill(pid_, signal);
    std::this_thread::sleep_for(milliseconds{50});  // two of a kind that wait are one
  }
  bool lives() const {
    siginfo_t info{};
    return ::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == 0;
  }
  /// As a shell gives it.
  int code() {
    for (int i = 0; i < 500 && lives(); ++i) std::this_thread::sleep_for(milliseconds{10});
    return lives() ? -1 : end();
  }

 private:
  int end() {
    int status = 0;
    if (::waitpid(pid_, &status, 0) != pid_) return -1;
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  }
  pid_t pid_ = 0;
};

/// Grants what is wished: 75.
void grant(SignalWishes& signals) {
  if (signals.stop_requested()) ::_exit(75);
}

TEST(SignalWishes, EachThatAsksForTheEndIsGranted) {
  for (const int signal : {SIGUSR1, SIGTERM, SIGINT, SIGHUP, SIGQUIT}) {
    Spinning process(grant);
    process.tell(signal);
    EXPECT_EQ(process.code(), 75) << signal;
  }
}

TEST(SignalWishes, AStormIsOneWish) {
  Spinning process([](SignalWishes& signals) {
    int saves = 0;
    if (signals.stop_requested()) {
      while (signals.take_save_request()) ++saves;
      ::_exit(saves);
    }
  });
  for (int i = 0; i < 20; ++i) process.tell(SIGUSR2);
  for (int i = 0; i < 20; ++i) process.tell(SIGUSR1);
  EXPECT_EQ(process.code(), 1);
}

TEST(SignalWishes, TheSecondFromTheKeyboardAndTheSecondHangUpEndAtOnce) {
  for (const int first : {SIGINT, SIGQUIT}) {
    for (const int second : {SIGINT, SIGQUIT}) {
      Spinning process;
      process.tell(first);
      EXPECT_TRUE(process.lives());
      process.tell(second);
      EXPECT_EQ(process.code(), 128 + second);
    }
  }
  Spinning process;
  process.tell(SIGHUP);
  process.tell(SIGHUP);  // of one terminal: by the kernel and by the shell
  process.tell(SIGINT);
  EXPECT_TRUE(process.lives());
  std::this_thread::sleep_for(milliseconds{300});
  process.tell(SIGHUP);
  EXPECT_EQ(process.code(), 129);
}

TEST(SignalWishes, ATermThatIsRepeatedEndsAProcessInWhichNothingIsDone) {
  Spinning dead, alive([](SignalWishes&signals) { signals.progressed(); });
  for (int i = 0; i < 3; ++i) {
    for (Spinning* const process : {&dead, &alive}) process->tell(SIGTERM);
    EXPECT_TRUE(dead.lives());
    std::this_thread::sleep_for(milliseconds{i == 2 ? 5000 : 100});
  }
  for (Spinning* const process : {&dead, &alive}) process->tell(SIGTERM);
  EXPECT_EQ(dead.code(), 143);
  EXPECT_TRUE(alive.lives());
}

TEST(SignalWishes, WhoeverGivesThemUpDiesAsBefore) {
  Spinning process([](SignalWishes& signals) {
    if (signals.stop_requested()) signals.give_up();
  });
  process.tell(SIGINT);
  EXPECT_EQ(process.code(), 130);
}

/// What work leaves behind, for a signal that comes in the middle of it.
TEST(SignalWishes, EndWorkThatLeavesNothingBehind) {
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) {
    const TemporaryDirectory directory;
    const Path out = directory.path() / "out";
    const auto work = [&] {
      SignalWishes signals;
      signals.give_up();
      const int code = work_or_end(signals, [&](const std::function<void()>& may_end) {
        NewFolder folder(out.string());
        may_end();
        ::raise(signal);
        replace_file(folder.temporary() / "weights", "some");
        may_end();
        folder.publish();
      });
      ::_exit(code);
    };
    EXPECT_EXIT(work(), testing::KilledBySignal(signal), "");
    EXPECT_TRUE(std::filesystem::is_empty(directory.path())) << signal;
  }
}

TEST(SignalWishes, LeaveWorkAloneThatNoneComesTo) {
  const auto work = [] {
    SignalWishes signals;
    signals.give_up();
    ::_exit(work_or_end(signals, [](const std::function<void()>& may_end) { may_end(); }));
  };
  EXPECT_EXIT(work(), testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace retain
