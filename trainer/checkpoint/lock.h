// The lock of a run directory: one job at a time writes there. run/LOCK names its holder; a thread renews its time
// stamp. A newcomer may take over a stale lock: of a process of this machine that is gone, or without a sign of life
// for the stale time. The old holder finds out before its next commit (check_held) and stops.
#pragma once

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "trainer/file.h"

namespace retain {

class RunLock {
 public:
  struct Timing {
    double stale_seconds = 60;
    double renew_seconds = 10;
  };
  /// Takes the lock, or throws Error(kCannotCreate) naming host, process and job of the holder. One rank of a run calls
  /// this. The run directory must exist.
  explicit RunLock(const Path& run_directory, Timing timing);
  explicit RunLock(const Path& run_directory) : RunLock(run_directory, Timing{}) {}
  /// Removes the lock if it is still ours.
  ~RunLock();
  RunLock(const RunLock&) = delete;
  RunLock& operator=(const RunLock&) = delete;

  /// Throws Error(kCannotCreate) naming the new holder if somebody took the lock over. Any thread.
  void check_held() const;
  /// Did the renewal find that somebody took the lock over? Costs nothing to ask; check_held() says who.
  bool lost() const { return lost_; }

 private:
  void renew_until_stopped();

  Path path_;
  Timing timing_;
  std::string text_;  // what LOCK holds while it is ours
  std::mutex mutex_;
  std::condition_variable stop_changed_;
  bool stop_ = false;
  std::atomic<bool> lost_{false};
  std::thread renewer_;
};

}  // namespace retain
