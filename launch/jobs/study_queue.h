// Starts the runs of a study as processes of this machine, several at a time, each on its GPUs or with its part of the
// CPU: `retain train` on the configuration in the run's directory.
#pragma once

#include <chrono>
#include <map>
#include <string>
#include <vector>

#include "trainer/study/queue.h"
#include "trainer/study/runs_csv.h"

namespace retain {

struct StudyQueueOptions {
  std::string program;                            ///< where `retain` is
  int max_jobs = 0;                               ///< at a time; 0: as many as the plan says
  int gpus = 0;                                   ///< of this machine that may be used; 0: runs take the CPU
  std::vector<std::string> only;                  ///< runs, with what they start from; none: all
  std::vector<study::FinishedRow> finished = {};  ///< of cells that need no training here
  std::string finished_in = {};                   ///< the table that has them
  std::chrono::seconds limit{0};                  ///< for all of it; 0: none
};

/// The words before a program that runs on so many ranks; none for one.
std::vector<std::string> mpi_command(int ranks);

/// The command of a run: it begins, goes on from its own newest checkpoint, or starts from its parent's last.
std::vector<std::string> study_command(const study::Plan& plan, const study::PlannedRun& run,
                                       const std::string& program);

/// What a job in this slot sees of the machine: CUDA_VISIBLE_DEVICES, dealt in turns out of `visible` (the caller's, ""
/// for all), or OMP_NUM_THREADS, an even part of `threads`. Pure.
std::map<std::string, std::string> study_environment(int slot, int slots, int ranks, int gpus,
                                                     const std::string& visible, int threads);

/// Until nothing is left to start. The first TERM, INT, HUP or USR1 lets all runs save and end; a second one ends them
/// at once. With a limit a run is begun where it is predicted to lead to a result in time, or, when no such one is
/// left, where that would take longer than the limit itself; what still runs shortly before it is let save and end.
/// Returns 0 when all is done or diverged, 75 when runs were told to end, else the exit code of the first run of the
/// plan that failed. What it does is said on stderr.
int run_study_queue(const study::Plan& plan, const StudyQueueOptions& options);

}  // namespace retain
