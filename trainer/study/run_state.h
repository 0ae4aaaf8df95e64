// How far a run of a study is, by what it left in its directory: a run needs no other record, however it was started.
// read_progress() looks; judge() and states_of() are pure.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "trainer/study/plan.h"

namespace retain::study {

enum class State : uint8_t {
  kPlanned,  ///< not begun, or interrupted: it goes on where it was
  kRunning,  ///< a process holds its lock
  kDone,
  kFailed,    ///< with an error; the next study run tries again
  kDiverged,  ///< a result: not tried again
};
const char* state_name(State state);  ///< "planned", "running", …

/// How an attempt of the queue ended, which the run itself may not have lived to say (ending.json).
struct Ending {
  int exit_code = 0;
  std::string reason;
};

/// What is in a run's directory.
struct Progress {
  bool done = false;        ///< the file DONE
  bool running = false;     ///< its lock is held
  std::string failed = {};  ///< the file FAILED
  std::optional<Ending> ending = {};
  int error_code = 0;                              ///< of the last event, where that is an error
  int64_t step = 0;                                ///< the newest in metrics.jsonl
  double first_loss = 0;                           ///< of training, in this run's first step; NaN without one
  double last_loss = 0;                            ///< median of the newest steps, at most ten
  std::map<std::string, double> eval_losses = {};  ///< of the newest step that was validated, by set
  int64_t eval_step = 0;
  double seconds = 0;              ///< that its steps took, those that were done again included
  double median_step_seconds = 0;  ///< the first step of each start left out
  std::string build = {};          ///< "0.1.0 (0491ec9e2f31)"
  std::string device = {};         ///< as the run describes it
};

/// Reads what there is; a directory without anything is a run that has not begun. `seconds` of a run that was killed
/// lack its last, unfinished step.
Progress read_progress(const std::string& run_directory);

struct RunState {
  State state = State::kPlanned;
  std::string reason;  ///< of a run that failed, diverged, or waits for another

  bool over() const { return state == State::kDone || state == State::kDiverged; }
};

/// Predicted, of the steps that it has not done.
double seconds_left(const PlannedRun& run, const Progress& progress);

/// `start_loss`: of the first step of the first run that this one goes on from. A run diverged when it says so (exit
/// code 76), when a loss of its end is not finite, or when its training loss ends above `start_loss`.
RunState judge(const Progress& progress, double start_loss);

/// Of all runs of the plan, in its order: what starts from a run that diverged or failed shares its fate or waits.
std::vector<RunState> states_of(const Plan& plan, const std::vector<Progress>& progress);

/// "{"exit_code": 70, "reason": "…"}" for read_progress().
std::string ending_json(const Ending& ending);
inline constexpr const char* kEndingFile = "ending.json";

}  // namespace retain::study
