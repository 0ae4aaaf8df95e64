// The machines that a run may use.
#pragma once

#include <chrono>
#include <string>
#include <vector>

namespace retain {

/// The hosts of a hostfile of Open MPI: the first word of each line, once; comments and slots are left out. Pure.
std::vector<std::string> hosts_in(const std::string& hostfile);

/// Those of --hostfile, or of the Slurm allocation that this process runs in, or this machine ("localhost"). Throws
/// Error(kMissingInput) for a file that cannot be read, Error(kUsage) for one without hosts.
std::vector<std::string> find_hosts(const std::string& hostfile);

/// Those on which mpirun can start a process within `patience`, tried all at once: a run starts the same way.
std::vector<std::string> hosts_that_answer(const std::vector<std::string>& hosts, std::chrono::seconds patience);

}  // namespace retain
