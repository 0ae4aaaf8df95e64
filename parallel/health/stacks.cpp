#include "parallel/health/stacks.h"

#include <dirent.h>
#include <execinfo.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <string>
#include <thread>

#include "kernels/core/error.h"

namespace retain {

namespace {

constexpr int kFrames = 48;
constexpr std::chrono::milliseconds kAnswer{150};  // within which a thread writes its stack

int stack_signal() { return SIGRTMIN + 4; }

// A handler can reach nothing but static storage.
std::atomic<int> asked_descriptor{-1}, answers{0};

void write_stack(int descriptor) {
  std::array<void*, kFrames> frames{};
  backtrace_symbols_fd(frames.data(), backtrace(frames.data(), kFrames), descriptor);
}

void answer(int) {
  const int error = errno;
  if (const int descriptor = asked_descriptor.load(); descriptor >= 0) write_stack(descriptor);
  answers.fetch_add(1);
  errno = error;
}

std::string first_line(const std::string& path) {
  std::ifstream in(path);
  std::string line;
  std::getline(in, line);
  return line;
}

void write_text(int descriptor, const std::string& text) {
  static_cast<void>(::write(descriptor, text.data(), text.size()) < 0);
}

/// Does the thread write its stack before `until`?
bool ask(int thread, std::chrono::steady_clock::time_point until) {
  const int before = answers.load();
  if (::syscall(SYS_tgkill, ::getpid(), thread, stack_signal()) != 0) return false;
  while (answers.load() == before) {
    if (std::chrono::steady_clock::now() > until) return false;
    std::this_thread::sleep_for(std::chrono::microseconds(200));
  }
  return true;
}

/// Asks all threads to write their stacks to a descriptor.
void ask_all(int descriptor, std::chrono::steady_clock::time_point until) {
  DIR* const threads = ::opendir("/proc/self/task");
  if (!threads) return;
  while (const dirent* const entry = ::readdir(threads)) {
    const int thread = std::atoi(entry->d_name);
    if (thread <= 0 || std::chrono::steady_clock::now() > until) continue;
    const std::string folder = concat("/proc/self/task/", thread);
    write_text(descriptor, concat("  thread ", thread, " (", first_line(folder + "/comm"), "):\n"));
    if (thread == static_cast<int>(::syscall(SYS_gettid))) {
      write_stack(descriptor);
    } else if (!ask(thread, std::min(until, std::chrono::steady_clock::now() + kAnswer))) {
      write_text(descriptor, concat("does not answer; in the kernel in ", first_line(folder + "/wchan"), "\n"));
    }
  }
  ::closedir(threads);
}

}  // namespace

void leave_signals_to_main_thread() {
  sigset_t all;
  sigfillset(&all);
  sigdelset(&all, stack_signal());
  pthread_sigmask(SIG_BLOCK, &all, nullptr);
}

void prepare_stacks() {
  std::array<void*, 1> frame{};
  static_cast<void>(backtrace(frame.data(), 1));
  struct sigaction action = {};
  action.sa_handler = answer;
  action.sa_flags = SA_RESTART;
  sigfillset(&action.sa_mask);
  sigaction(stack_signal(), &action, nullptr);
}

std::string stacks_of_all_threads(std::chrono::milliseconds patience) {
  std::string text;
  const int memory = ::memfd_create("stacks", MFD_CLOEXEC);
  if (memory < 0) return text;
  asked_descriptor = memory;
  ask_all(memory, std::chrono::steady_clock::now() + patience);
  asked_descriptor = -1;
  text.resize(static_cast<std::size_t>(std::max<off_t>(::lseek(memory, 0, SEEK_END), 0)));
  const ssize_t bytes = ::pread(memory, text.data(), text.size(), 0);
  text.resize(static_cast<std::size_t>(std::max<ssize_t>(bytes, 0)));
  ::close(memory);
  return text;
}

}  // namespace retain
