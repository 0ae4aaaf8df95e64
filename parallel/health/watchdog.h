// Watches over a run from a thread of its own, which calls neither MPI nor a device: over what this process is at, over
// the other ranks, over the launcher. When progress stops it names the culprit on stderr of every rank that is left,
// with the stacks of this process, has the communicators aborted, and ends the process with exit code 70 (69 where a
// device or a group failed). parallel/README.md says what it sees, and what its messages mean.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "kernels/core/activity.h"
#include "parallel/communicator.h"

namespace retain {

struct WatchdogOptions {
  /// T, or learned from what the run does (HangLimit).
  std::optional<std::chrono::seconds> timeout = std::nullopt;
  bool launched = false;  ///< by a launcher that the process ends with
};

/// What is done at the end besides, each in a thread of its own: it may hang, and is then left behind.
struct LastDeeds {
  std::function<void(const std::string& line, int exit_code)> record = {};  ///< leaves the line where it is looked for
  std::function<void()> let_go = {};                                        ///< aborts the communicators
};

class Watchdog {
 public:
  /// Watches `activity`, which outlives it, and the ranks of `host`, which is used in this call only. Collective.
  Watchdog(Communicator& host, Activity& activity, const WatchdogOptions& options);
  /// Tells the others that this rank ends well.
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

  /// The last deeds for as long as this lives.
  class AtEnd {
   public:
    AtEnd(Watchdog* watchdog, LastDeeds deeds);  ///< null: nobody watches
    ~AtEnd();
    AtEnd(const AtEnd&) = delete;
    AtEnd& operator=(const AtEnd&) = delete;

   private:
    Watchdog* watchdog_;
  };

 private:
  class Thread;
  std::unique_ptr<Thread> thread_;
};

}  // namespace retain
