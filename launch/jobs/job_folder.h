// The folder jobs/ of a run directory: what was submitted, numbered, with the configuration as it was then.
#pragma once

#include <string>

#include "launch/jobs/job.h"

namespace retain {

class JobFolder {
 public:
  /// Of the run in this directory; nothing is created.
  explicit JobFolder(const std::string& run);

  /// Begins the names of the files of the next job: "/runs/books/jobs/0003".
  std::string next() const;
  /// Writes the job and `resolved`, the configuration that it trains; returns the name of the job's text. Throws
  /// Error(kCannotCreate).
  std::string keep(const Job& job, const std::string& resolved) const;

 private:
  std::string path_;
};

}  // namespace retain
