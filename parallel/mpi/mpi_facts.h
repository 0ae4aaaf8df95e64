// What the MPI library says of itself.
#pragma once

#include <string>

namespace retain {

/// "Open MPI v4.1.4".
std::string mpi_library();
/// "funneled" and the like: what threads of this process may call MPI; empty where MPI is not initialised.
std::string mpi_thread_level();

}  // namespace retain
