#include "trainer/study/queue.h"

#include <algorithm>
#include <limits>
#include <map>

namespace retain::study {
namespace {

/// With what these start from, as far as it is not done.
void add_parents(const Plan& plan, const std::vector<RunState>& states, std::vector<bool>& runs) {
  for (size_t i = plan.runs.size(); i-- > 0;) {  // parents come before
    const std::string& parent = plan.runs[i].parent;
    if (!runs[i] || states[i].over() || parent.empty()) continue;
    const size_t from = plan.index_of(parent);
    if (states[from].state != State::kDone) runs[from] = true;
  }
}

}  // namespace

std::vector<bool> needed_runs(const Plan& plan, const std::vector<RunState>& states) {
  std::vector<bool> needed;
  for (size_t i = 0; i < plan.runs.size(); ++i) needed.push_back(plan.runs[i].is_cell && !states[i].over());
  add_parents(plan, states, needed);
  return needed;
}

double seconds_to_result(const Plan& plan, const std::vector<Progress>& progress, const std::vector<RunState>& states,
                         size_t run) {
  std::vector<double> further(plan.runs.size(), std::numeric_limits<double>::infinity());
  for (size_t i = plan.runs.size(); i-- > run;) {  // parents come before
    if (states[i].over()) continue;
    const double seconds = seconds_left(plan.runs[i], progress[i]) + (plan.runs[i].is_cell ? 0 : further[i]);
    if (i == run) return seconds;
    if (plan.runs[i].parent.empty()) continue;
    double& least = further[plan.index_of(plan.runs[i].parent)];
    least = std::min(least, seconds);
  }
  return 0;
}

Queue::Queue(const Plan& plan, std::vector<RunState> states, const std::vector<std::string>& only)
    : plan_(plan),
      states_(std::move(states)),
      wanted_(plan.runs.size(), false),
      tried_(plan.runs.size(), false),
      running_(plan.runs.size(), false) {
  for (const std::string& name : only) {
    const auto found = std::ranges::find(plan.runs, name, &PlannedRun::name);
    if (found == plan.runs.end())
      throw Error(ErrorKind::kUsage, concat("--only ", name, ": no such run in ", plan.dir, "/plan.csv"));
    wanted_[static_cast<size_t>(found - plan.runs.begin())] = true;
  }
  for (size_t i = 0; i < plan.runs.size(); ++i)
    if (only.empty() && plan.runs[i].is_cell) wanted_[i] = true;
  add_parents(plan_, states_, wanted_);
}

std::optional<size_t> Queue::next(const std::function<bool(size_t)>& wished) const {
  for (size_t i = 0; i < states_.size(); ++i) {
    const State state = states_[i].state;
    const std::string& parent = plan_.runs[i].parent;
    const bool waits = !parent.empty() && states_[plan_.index_of(parent)].state != State::kDone;
    const bool open = state == State::kPlanned || state == State::kFailed;
    if (wanted_[i] && !tried_[i] && !waits && open && wished(i)) return i;
  }
  return std::nullopt;
}

void Queue::started(size_t run) {
  tried_[run] = true;
  running_[run] = true;
}

std::vector<size_t> Queue::elsewhere() const {
  std::vector<size_t> found;
  for (size_t i = 0; i < states_.size(); ++i)
    if (wanted_[i] && !running_[i] && states_[i].state == State::kRunning) found.push_back(i);
  return found;
}

size_t Queue::running_here() const { return static_cast<size_t>(std::ranges::count(running_, true)); }

std::vector<std::vector<std::string>> chains_of(const Plan& plan) {
  std::vector<std::vector<std::string>> chains;
  std::map<std::string, size_t> chain_of;
  for (const PlannedRun& run : plan.runs) {
    const bool first = run.parent.empty();
    if (first) chains.emplace_back();
    const size_t chain = first ? chains.size() - 1 : chain_of.at(run.parent);
    chain_of[run.name] = chain;
    chains[chain].push_back(run.name);
  }
  return chains;
}

}  // namespace retain::study
