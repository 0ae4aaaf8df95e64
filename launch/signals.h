// Signals as wishes of a run. USR1, TERM, INT, HUP and QUIT ask for a checkpoint and the end, USR2 for a checkpoint.
// What must end a process that grants no wish any more, because a library or a disk does not return, is done in the
// handler itself: the second INT or QUIT, the second HUP, and a TERM that is repeated while nothing gets done
// (README.md#how-a-run-ends). Handlers call nothing that is not safe in one.
#pragma once

#include <array>
#include <csignal>
#include <cstddef>
#include <functional>
#include <string>

namespace retain {

/// Installs the handlers, for good: a signal that comes early must not kill a start, nor one that comes late turn a run
/// that has ended well into a death. One object a process: a handler can reach nothing but static storage.
class SignalWishes {
 public:
  SignalWishes();
  SignalWishes(const SignalWishes&) = delete;
  SignalWishes& operator=(const SignalWishes&) = delete;

  /// For what grants no wishes: signals do again what they did before, and one that has asked for the end does it now.
  void give_up() const;
  /// After give_up(), by who grants the wish to end from now on. `promise`: what the first signal is answered with,
  /// text that lives as long as the process; null: nothing.
  void take_up(const char* promise);
  bool stop_requested() const;
  /// The first signal that asked for the end, or "SIGUSR2" while a save is asked for; "" when there is none.
  std::string name_of_request() const;
  /// True once for each SIGUSR2 (or several at once).
  bool take_save_request();
  /// A step, or as much of an evaluation, is done: the process is alive, and a TERM that is repeated need not end it.
  void progressed();

 private:
  struct Before {
    int signal = 0;
    struct sigaction action = {};
  };
  void handle(int signal, void (*handler)(int));
  void handle_wishes();

  std::array<Before, 8> before_;  ///< what signals did
  size_t handled_ = 0;
};

/// Does work that leaves nothing behind when an exception ends it. `work` calls what it is given wherever it may end,
/// which throws where a signal asks for that; the process then ends by the signal. Gives the exit code: 0, or 128 + the
/// signal where it was ignored before. Throws what the work throws.
int work_or_end(SignalWishes& signals, const std::function<void(const std::function<void()>& may_end)>& work);

}  // namespace retain
