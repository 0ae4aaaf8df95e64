// fit.json: what a fit came to, with all digits, and all that is needed to repeat it: options, the table's checksum,
// its rows. The constants of the chosen law stand at the top; rows and resamples, one a line, at the end.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "trainer/study/fit.h"

namespace retain {

/// The program that fits, as it names itself.
struct BuildName {
  std::string version, commit;
};

std::string write_fit(const StudyFit& study, const RunsQuery& query, const BuildName& build);

/// A fit.json that was read.
// That json's move may throw is not so.  NOLINTNEXTLINE(bugprone-exception-escape)
struct FittedStudy {
  std::string path;
  nlohmann::json json;
  const LawForm* form = nullptr;
  Law law;
  uint64_t table_checksum = 0;
  uint64_t seed = 0;
  std::string eval_set;  ///< whose losses these are; "" where the table does not say
  std::vector<StudyRun> runs;
  std::vector<double> residuals;  ///< ln loss measured less predicted
  std::vector<Law> resamples;
};
/// Throws Error(kMissingInput), Error(kData) where the file is none of ours.
FittedStudy read_fit(const std::string& path);
/// Throws Error(kData) if this table is not the one that was fitted.
void check_table(const FittedStudy& fit, const std::string& path);

}  // namespace retain
