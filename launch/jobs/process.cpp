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
#include "trainer/file.h"

namespace retain {
namespace {

/// Words as a new program takes them, which are made before there is a child: another thread may hold the allocator's
/// lock when it is made.
std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> words;
  for (std::string& each : texts) words.push_back(each.data());
  words.push_back(nullptr);
  return words;
}

std::vector<std::string> environment_with(const std::map<std::string, std::string>& more) {
  std::vector<std::string> variables;
  for (char** each = environ; *each; ++each) {
    const std::string variable = *each;
    if (!more.contains(variable.substr(0, variable.find('=')))) variables.push_back(variable);
  }
  for (const auto& [name, value] : more) variables.push_back(concat(name, "=", value));
  return variables;
}

[[noreturn]] void become(const std::vector<char*>& words, const std::vector<char*>& variables, int output) {
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGUSR1);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  // What is ignored stays so in a new program, and a shell could not even trap it.
  for (const int each : {SIGPIPE, SIGXFSZ, SIGUSR1, SIGUSR2, SIGTERM}) std::signal(each, SIG_DFL);
  dup2(open("/dev/null", O_RDWR), 0);
  if (output >= 0) {
    dup2(output, 1);
    dup2(output, 2);
  }
  execvpe(words[0], words.data(), variables.data());
  _exit(127);
}

/// Where the output of a child goes; no descriptor where it shares this process's.
File output_of(const ChildProcess::Setting& setting) {
  if (setting.output == ChildProcess::Output::kShared) return {};
  const bool dropped = setting.output == ChildProcess::Output::kDropped;
  const std::string path = dropped ? "/dev/null" : setting.file;
  const int descriptor = open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
  if (descriptor < 0) throw_errno(ErrorKind::kCannotCreate, "open", path, errno);
  return {descriptor, path};
}

int code_of(int status) { return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status); }

}  // namespace

ChildProcess::ChildProcess(const std::vector<std::string>& command, const Setting& setting) {
  std::vector<std::string> copies = command, environment = environment_with(setting.environment);
  const std::vector<char*> words = pointers(copies), variables = pointers(environment);
  const File output = output_of(setting);
  std::fflush(nullptr);
  pid_ = fork();
  if (pid_ == 0) become(words, variables, output.descriptor());
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
