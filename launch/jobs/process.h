// Processes that this one starts and waits for.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <csignal>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace retain {

/// A command in a process group of its own, with an empty stdin. It is asked to save (SIGUSR1) when this process dies.
class ChildProcess {
 public:
  enum class Output : uint8_t { kShared, kDropped, kFile };
  struct Setting {
    Output output = Output::kShared;
    std::string file = {};                                ///< of kFile, which is appended to
    std::map<std::string, std::string> environment = {};  ///< besides this process's, or instead of it
  };
  /// Throws Error(kInternal) when no process can be made, Error(kCannotCreate) when its file cannot; a command that
  /// cannot be run ends with 127.
  ChildProcess(const std::vector<std::string>& command, const Setting& setting);
  ChildProcess(const std::vector<std::string>& command, Output output)
      : ChildProcess(command, Setting{.output = output}) {}
  /// Kills the group of one that has not ended.
  ~ChildProcess();
  ChildProcess(ChildProcess&& other) noexcept : pid_(other.pid_), code_(other.code_) { other.pid_ = -1; }
  ChildProcess& operator=(ChildProcess&&) = delete;

  /// 128 + n after a death by the signal n; nothing while it runs.
  std::optional<int> ended();
  void signal(int number) const;

 private:
  pid_t pid_ = -1;
  std::optional<int> code_;
};

/// Runs a command to its end and returns its exit code; `answer` is what it wrote to stdout.
int run_command(const std::vector<std::string>& command, std::string& answer);

/// Signals as a queue instead of interruptions: blocked while this object lives, and taken one by one.
class SignalQueue {
 public:
  explicit SignalQueue(const std::vector<int>& signals);
  ~SignalQueue();
  SignalQueue(const SignalQueue&) = delete;
  SignalQueue& operator=(const SignalQueue&) = delete;

  /// The next one, waited for at most so long; 0: none.
  int take(std::chrono::milliseconds patience) const;

 private:
  sigset_t taken_, before_;
};

}  // namespace retain
