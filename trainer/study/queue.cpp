#include "trainer/study/queue.h"

#include <algorithm>
#include <map>

namespace retain::study {

Queue::Queue(const Plan& plan, std::vector<RunState> states, const std::vector<std::string>& only)
    : plan_(plan),
      states_(std::move(states)),
      wanted_(plan.runs.size(), only.empty()),
      tried_(plan.runs.size(), false),
      running_(plan.runs.size(), false) {
  for (const std::string& name : only) {
    const auto found = std::ranges::find(plan.runs, name, &PlannedRun::name);
    if (found == plan.runs.end())
      throw Error(ErrorKind::kUsage, concat("--only ", name, ": no such run in ", plan.dir, "/plan.csv"));
    wanted_[static_cast<size_t>(found - plan.runs.begin())] = true;
  }
  for (size_t i = plan.runs.size(); i-- > 0;)  // parents come before
    if (wanted_[i] && !plan.runs[i].parent.empty()) wanted_[plan.index_of(plan.runs[i].parent)] = true;
}

std::optional<size_t> Queue::next() const {
  for (size_t i = 0; i < states_.size(); ++i) {
    const State state = states_[i].state;
    const std::string& parent = plan_.runs[i].parent;
    const bool waits = !parent.empty() && states_[plan_.index_of(parent)].state != State::kDone;
    if (wanted_[i] && !tried_[i] && !waits && (state == State::kPlanned || state == State::kFailed)) return i;
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
