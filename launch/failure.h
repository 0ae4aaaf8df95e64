// How an error ends the program: it is said first and once a job, then written down, and no rank is left waiting. What
// all ranks know alike rank 0 says; of what it alone knows each rank speaks itself, and is named.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "parallel/mpi/launch.h"
#include "parallel/mpi/mpi_environment.h"

namespace retain {

/// An error as the program tells it.
struct Failure {
  enum class Reach : uint8_t {
    kThisRank,
    kAllRanks,  ///< a SharedError: each rank is about to tell the same
    kPeers      ///< a CommunicationError: likely another rank's failure, which has the word first
  };
  int exit_code = 0;
  std::string message;
  Reach reach = Reach::kThisRank;
  const char* program = "retain: ";  ///< begins its line, unless file:line:column of a configuration does
};

/// What an error does besides setting the exit code. Nothing here throws.
struct Farewell {
  /// Says a line; by default on stderr.
  std::function<void(const std::string& line)> say = {};
  /// Leaves the reason where others find it; may wait for a disk.
  std::function<void(const Failure& failure, const std::string& line)> record = {};
  /// Ends what is under way on the devices. Given where unwinding may wait for a disk, a device or another rank: then
  /// several ranks do not unwind.
  std::function<void()> let_go = {};
};

/// The exit code of `work`, or of the error that it threw. A process alone returns it, and so do all ranks together
/// after an error that all have, where nothing has to be let go. Otherwise this ends all ranks of the job at once,
/// while everything that surrounds the call is alive, and does not return.
int run_to_exit_code(const MpiEnvironment* mpi, const std::function<int()>& work, const Farewell& farewell = {});
/// The same for what every process of a launch does alike before MPI is there: of an error only the first speaks.
int run_alike_before_mpi(const Launch& launch, const std::function<int()>& work);

}  // namespace retain
