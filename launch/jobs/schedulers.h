// What each scheduler has of its own in the text of a job. Private to launch/jobs.
#pragma once

#include <string>
#include <vector>

#include "launch/jobs/job.h"

namespace retain::jobs {

struct Dialect {
  std::string suffix = {};
  std::string prefix = {};                   ///< of a directive: "#SBATCH "
  std::vector<std::string> directives = {};  ///< without the prefix
  std::string prepare = {};                  ///< lines before the start
  std::string start = {};                    ///< starts the ranks; replaces the shell
  std::string ask = {};                      ///< asks all ranks to save and to end with 75
  std::string again = {};                    ///< a body in braces that brings the job back; "": who started it does
};

Dialect dialect_of(const Job& job);

}  // namespace retain::jobs
