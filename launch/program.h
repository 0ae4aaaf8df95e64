// The frame of the program: reads the command line, starts MPI where it is needed, runs the verb, and turns whatever
// reaches it into one message and an exit code. Elsewhere errors are caught only to reach other ranks or threads
// (attempt), to leave a reason behind, or to do without.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "launch/command_line/command_line.h"

namespace retain {

class MpiEnvironment;
struct Launch;

/// Runs a command that is no ShowText; `mpi` is null unless a launcher started this process and the verb runs on
/// several ranks.
using CommandRunner = std::function<int(const Command& command, const MpiEnvironment* mpi)>;

/// Returns the exit code of the program. `arguments` are without the program's name. Errors end it by
/// run_to_exit_code(). Of a launch whose processes MPI does not bring together nothing runs (kDevice), and no verb of a
/// single process under a launcher of several (kUsage).
int run_program(const std::vector<std::string>& arguments, const CommandRunner& runner, const Launch& launch);

}  // namespace retain
