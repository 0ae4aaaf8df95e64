// How far a study is. Pure.
#pragma once

#include <string>
#include <vector>

#include "trainer/study/run_state.h"

namespace retain::study {

struct Totals {
  std::vector<int64_t> by_state = {};  ///< cells, by State
  double spent_gpu_hours = 0;          ///< measured, of all runs
  double planned_gpu_hours = 0;        ///< of the whole study, predicted
  double left_gpu_hours = 0;           ///< predicted, corrected by how long what is done took
  double left_seconds = 0;             ///< of the clock, with as many jobs at a time as the plan says

  int64_t count(State state) const { return by_state.at(static_cast<size_t>(state)); }
};
Totals totals_of(const Plan& plan, const std::vector<Progress>& progress, const std::vector<RunState>& states);

std::string status_json(const Plan& plan, const std::vector<Progress>& progress, const std::vector<RunState>& states);
/// How many times as long as predicted what is done took; 1 before anything is.
double slowness(const Plan& plan, const std::vector<Progress>& progress);

/// For people: a line a run, then the totals.
std::string status_table(const Plan& plan, const std::vector<Progress>& progress, const std::vector<RunState>& states);

}  // namespace retain::study
