// A study as an array of a Slurm job: each task trains one chain of runs, a trunk with its branches or a cell, and
// comes back until that is done.
#pragma once

#include <cstdint>
#include <string>

#include "launch/jobs/site.h"
#include "trainer/study/queue.h"

namespace retain {

struct StudyArray {
  std::string name = {};      ///< of the job
  std::string files = {};     ///< begins the names of its files: "/studies/demo/jobs/0001"
  std::string program = {};   ///< where `retain` is
  int max_jobs = 0;           ///< tasks at a time; 0: as many as Slurm lets
  int64_t limit_seconds = 0;  ///< of a task; 0: the partition's
  std::string account = {}, partition = {};
  Site site = {};
};

/// Bash, ends with a new line. `chains`: those that are left. Pure.
std::string study_array_text(const study::Plan& plan, const std::vector<std::vector<std::string>>& chains,
                             const StudyArray& array);

}  // namespace retain
