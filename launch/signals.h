// Signals as wishes: SIGUSR1 and SIGTERM ask for a checkpoint and the end, SIGUSR2 for a checkpoint.
#pragma once

namespace retain {

/// Installs the handlers, for good: a signal that comes late must not turn a run that has ended well into a death. One
/// object a process: a handler can reach nothing but static storage.
class SignalWishes {
 public:
  SignalWishes();
  SignalWishes(const SignalWishes&) = delete;
  SignalWishes& operator=(const SignalWishes&) = delete;

  bool stop_requested() const;
  /// True once for each SIGUSR2 (or several at once).
  bool take_save_request();
};

}  // namespace retain
