// Restarts a run: on the nodes that are left, until it has ended, or until it makes no headway.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "launch/jobs/process.h"

namespace retain {

/// One start of a run, from its beginning to its end.
struct Life {
  int exit_code = 0;
  bool saved = false;      ///< committed a checkpoint
  bool stop_file = false;  ///< somebody laid the file STOP
  std::string cause = {};  ///< in words
};

/// What an exit code says about another start (launch/README.md).
enum class Verdict : uint8_t {
  kDone,
  kGoesOn,      ///< saved on request
  kMayRecover,  ///< a death, a hang, a launcher that failed
  kWouldRepeat
};
Verdict verdict_of(int exit_code);

/// Decides after each life; gives up after `restarts` restarts in a row without a new checkpoint. Pure.
class RestartPolicy {
 public:
  explicit RestartPolicy(int restarts) : restarts_(restarts) {}

  /// Whether another life is to follow.
  bool goes_on_after(const Life& life);
  /// The newest causes, a line each.
  std::vector<std::string> last_causes() const;

 private:
  int restarts_, fruitless_ = 0;
  std::vector<Life> lives_;
};

/// One start of the ranks, as a command; `signals` are handed on to it. Returns its exit code.
struct SupervisedRun {
  std::string directory;  ///< of the run
  /// The command of the next life; called before each.
  std::function<std::vector<std::string>()> next_command;
  int restarts = 3;
  /// A life whose LOCK was renewed, and then was not for so long, is ended: mpirun may wait for a lost machine for
  /// ever.
  std::chrono::seconds silence{90};
};

/// Runs lives until one is the last; its exit code. TERM, INT and HUP are handed on as TERM, USR1 and USR2 as they are;
/// after all but USR2 nothing is started again. What it does is said on stderr.
int supervise(const SupervisedRun& run);

}  // namespace retain
