// What a study has come to: runs.csv, one row for each cell and evaluation set, which study fit reads; and its status.
// Pure.
#pragma once

#include <string>
#include <vector>

#include "trainer/study/run_state.h"

namespace retain::study {

/// "run_id,params,…" and a row for each cell and evaluation set, in the order of the plan. Numbers have all digits;
/// `loss` and what was measured are empty where a cell is not done. `tokens_per_second` is batch / median step time.
std::string runs_csv(const Plan& plan, const std::vector<Progress>& progress, const std::vector<RunState>& states);

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
/// For people: a line a run, then the totals.
std::string status_table(const Plan& plan, const std::vector<Progress>& progress, const std::vector<RunState>& states);

}  // namespace retain::study
