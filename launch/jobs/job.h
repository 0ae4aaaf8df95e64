// The text of a job: a bash script that a scheduler runs on the nodes that it asks for. It starts `retain train` on
// every rank, asks for a checkpoint when told to end, and decides by the exit code whether the job comes back. The
// files under launch/templates/ are such texts; a test holds them together. What the texts share stands in job.cpp,
// what a scheduler has of its own in schedulers.cpp.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "launch/jobs/scheduler.h"
#include "launch/jobs/site.h"

namespace retain {

struct Job {
  Scheduler scheduler = Scheduler::kSlurm;
  std::string name = {};
  std::string run = {};    ///< its directory, absolute
  std::string files = {};  ///< begins the names of the job's own files: "/runs/books/jobs/0001"; it trains `files`.yaml
  int nodes = 1, ranks_per_node = 1;
  bool gpus = false;                         ///< each rank has one
  int64_t limit_seconds = 0;                 ///< 0 = the partition's
  int64_t notice_seconds = 180;              ///< how long before the limit the run is told to end
  std::string account = {}, partition = {};  ///< "": the scheduler's default
  int restarts = 3;                          ///< after failures
  std::vector<std::string> hosts = {};       ///< of mpirun
  std::vector<std::string> sets = {};        ///< on the command line of train
  std::string program = {};                  ///< where `retain` is
  Site site = {};
};

/// Bash, ends with a new line. Pure.
std::string job_text(const Job& job);

/// What ends the name of its file: ".sbatch".
std::string job_suffix(Scheduler scheduler);

/// The command that hands the file over; the scheduler's answer is on its stdout.
std::vector<std::string> submit_command(Scheduler scheduler, const std::string& file);

/// The job's number or name in what the scheduler answered.
std::string job_id_of(const std::string& answer);

}  // namespace retain
