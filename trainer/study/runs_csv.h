// runs.csv: a row for each cell and evaluation set, which study fit reads. It outlives the runs' folders: what is
// finished in an older table stays, and counts as trained. Pure but for read_runs_csv().
#pragma once

#include <string>
#include <vector>

#include "trainer/study/run_state.h"

namespace retain::study {

/// A row that an older table has of a cell that is done or diverged.
struct FinishedRow {
  std::string run_id, eval_set, status, build, loss;
  std::vector<std::string> fields;  ///< as they stood, in the order of the columns
};

/// The finished rows of a table that `retain study collect` wrote; of others nothing is kept. Throws
/// Error(kMissingInput) without the file, Error(kData) where it has other columns.
std::vector<FinishedRow> read_runs_csv(const std::string& path);

/// Cells that the table has finished for every evaluation set and the folder has not are done, or diverged, with their
/// losses. Throws ConfigError(kConfig) where a row was trained with other settings than the plan has, by cell and
/// column.
void take_finished(const Plan& plan, const std::vector<FinishedRow>& rows, const std::string& path,
                   std::vector<Progress>& progress, std::vector<RunState>& states);

struct MergedRuns {
  std::string csv;                     ///< "run_id,params,…", ends with a new line; numbers have all digits
  std::vector<std::string> conflicts;  ///< a line for each row that the folder has otherwise; the table's stays
};
/// Rows in the order of the plan, then those of `before` that it does not have. `loss` and what was measured are empty
/// where a cell is not done; `tokens_per_second` is batch / median step time. A cell that another build finished before
/// has a row of each build.
MergedRuns merge_runs(const Plan& plan, const std::vector<Progress>& progress, const std::vector<RunState>& states,
                      const std::vector<FinishedRow>& before);

}  // namespace retain::study
