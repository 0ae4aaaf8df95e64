// The lock of a run directory: one job at a time writes there. run/LOCK names its holder; a thread renews its time
// stamp. A newcomer takes over at once the lock of a process of this machine that is gone, and that of an earlier life
// of its own job, as Slurm counts them; of one that it cannot see, on another host or of the folder that this one was
// copied from, when the stamp does not move. The old holder finds out before its next commit (check_held) and stops.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "trainer/file.h"

namespace retain {

struct LockTiming {
  double renew_seconds = 4;
  double watch_seconds = 5;   ///< longer than a renewal takes: so long a newcomer itself must have seen no new stamp
  double quiet_seconds = 12;  ///< without a new stamp, after which a holder that cannot be seen counts as gone
  double stale_seconds = 60;  ///< the same for one of this machine that is there: it may be stopped, or busy
};

/// Does somebody hold the lock of this run, as far as can be seen at once: a process of this machine that lives, or of
/// another one whose stamp is not older than `quiet_seconds` by this machine's clock. Takes and changes nothing.
bool is_locked(const Path& run_directory, LockTiming timing = {});

class RunLock {
 public:
  using Say = std::function<void(const std::string&)>;
  /// Takes the lock, or throws Error(kCannotCreate) naming host, process and job of a holder that lives. Waits up to
  /// quiet_seconds to know, and says for whom and how long. One rank of a run calls this. The run directory must exist.
  explicit RunLock(
      const Path& run_directory, LockTiming timing = {}, const Say& say = [](const std::string&) {});
  /// Removes the lock if it is still ours.
  ~RunLock();
  RunLock(const RunLock&) = delete;
  RunLock& operator=(const RunLock&) = delete;

  /// Throws Error(kCannotCreate) naming the new holder if somebody took the lock over. Any thread.
  void check_held() const;
  /// Did the renewal find that somebody took the lock over? Costs nothing to ask; check_held() says who.
  bool lost() const { return lost_; }

 private:
  void take(const Path& claim, const Say& say);
  void renew_until_stopped();

  Path path_;
  LockTiming timing_;
  std::string text_;  // what LOCK holds while it is ours
  std::mutex mutex_;
  std::condition_variable stop_changed_;
  bool stop_ = false;
  std::atomic<bool> lost_{false};
  std::thread renewer_;
};

}  // namespace retain
