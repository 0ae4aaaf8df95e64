// In which order the runs of a study start: which is next, and when nothing is left. Pure; launch/jobs/study_queue
// starts the processes.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "trainer/study/run_state.h"

namespace retain::study {

/// Cells that are not over, and what of their trunks is not done: legs that only cells which are over started from are
/// not.
std::vector<bool> needed_runs(const Plan& plan, const std::vector<RunState>& states);

/// Predicted seconds until a run has led to its first result: its own, and of a leg those of the shortest way on to a
/// cell that is not over.
double seconds_to_result(const Plan& plan, const std::vector<Progress>& progress, const std::vector<RunState>& states,
                         size_t run);

class Queue {
 public:
  /// `only`: names of runs; none: all cells. What one of them starts from belongs to it, as far as it is not done.
  /// Throws Error(kUsage) for a name that the plan does not have.
  Queue(const Plan& plan, std::vector<RunState> states, const std::vector<std::string>& only);

  /// The first run of the plan that may start now: planned or failed, not tried by this queue before, and what it
  /// starts from is done. Runs that another process has are left alone.
  std::optional<size_t> next() const {
    return next([](size_t) { return true; });
  }
  /// The first of those which is also `wished`.
  std::optional<size_t> next(const std::function<bool(size_t run)>& wished) const;
  void started(size_t run);
  void ended(size_t run) { running_[run] = false; }
  /// What was found out since: states_of() again.
  void update(std::vector<RunState> states) { states_ = std::move(states); }
  /// Runs that another process had, which may be over.
  std::vector<size_t> elsewhere() const;
  /// Nothing is running, here or elsewhere, and nothing may start.
  bool over() const { return !next() && running_here() == 0 && elsewhere().empty(); }

  size_t running_here() const;
  const std::vector<RunState>& states() const { return states_; }
  bool wants(size_t run) const { return wanted_[run]; }

 private:
  const Plan& plan_;
  std::vector<RunState> states_;
  std::vector<bool> wanted_, tried_, running_;
};

/// The names of runs that belong together: a trunk's legs and branches, or a cell alone; in the order of the plan.
/// Cells of different ones need nothing of each other.
std::vector<std::vector<std::string>> chains_of(const Plan& plan);

}  // namespace retain::study
