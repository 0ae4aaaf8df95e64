#include "launch/jobs/process.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "kernels/core/error.h"
#include "launch/jobs/shell.h"

namespace retain {
namespace {

[[noreturn]] void become(std::vector<char*>& words, ChildProcess::Output output) {
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGUSR1);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  // What is ignored stays so in a new program, and a shell could not even trap it.
  for (const int each : {SIGPIPE, SIGXFSZ, SIGUSR1, SIGUSR2, SIGTERM}) std::signal(each, SIG_DFL);
  const int nothing = open("/dev/null", O_RDWR);
  dup2(nothing, 0);
  if (output == ChildProcess::Output::kDropped) {
    dup2(nothing, 1);
    dup2(nothing, 2);
  }
  execvp(words[0], words.data());
  _exit(127);
}

int code_of(int status) { return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status); }

}  // namespace

ChildProcess::ChildProcess(const std::vector<std::string>& command, Output output) {
  std::vector<std::string> copies = command;
  std::vector<char*> words;
  for (std::string& each : copies) words.push_back(each.data());
  words.push_back(nullptr);
  std::fflush(nullptr);
  pid_ = fork();
  if (pid_ == 0) become(words, output);
  if (pid_ < 0) throw Error(ErrorKind::kInternal, concat("cannot start ", command[0], ": ", std::strerror(errno)));
  setpgid(pid_, pid_);  // whichever of the two is first
}

ChildProcess::~ChildProcess() {
  if (pid_ < 0 || ended()) return;
  kill(-pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
}

std::optional<int> ChildProcess::ended() {
  int status = 0;
  if (!code_ && waitpid(pid_, &status, WNOHANG) == pid_) code_ = code_of(status);
  return code_;
}

void ChildProcess::signal(int number) const {
  if (!code_) kill(pid_, number);
}

int run_command(const std::vector<std::string>& command, std::string& answer) {
  std::FILE* const pipe = popen(quote_for_shell(command).c_str(), "re");
  if (!pipe) throw Error(ErrorKind::kInternal, concat("cannot start ", command[0], ": ", std::strerror(errno)));
  std::array<char, 4096> part{};
  answer.clear();
  for (size_t got = 0; (got = std::fread(part.data(), 1, part.size(), pipe)) > 0;) answer.append(part.data(), got);
  return code_of(pclose(pipe));
}

SignalQueue::SignalQueue(const std::vector<int>& signals) {
  sigemptyset(&taken_);
  for (const int each : signals) sigaddset(&taken_, each);
  sigprocmask(SIG_BLOCK, &taken_, &before_);
}

SignalQueue::~SignalQueue() { sigprocmask(SIG_SETMASK, &before_, nullptr); }

int SignalQueue::take(std::chrono::milliseconds patience) const {
  const timespec limit{.tv_sec = patience.count() / 1000, .tv_nsec = patience.count() % 1000 * 1'000'000};
  const int signal = sigtimedwait(&taken_, nullptr, &limit);
  return signal > 0 ? signal : 0;
}

}  // namespace retain
