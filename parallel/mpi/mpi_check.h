// For parallel/mpi only: mpi.h without its C++ bindings, and the macro that every call goes through.
#pragma once

#ifndef OMPI_SKIP_MPICXX
#define OMPI_SKIP_MPICXX 1
#endif
#include <mpi.h>

#include "parallel/communicator.h"

namespace retain {

/// Throws CommunicationError with the call's text and MPI's message.
[[noreturn]] void fail_mpi(const SourceLine& where, int result, const char* call);

}  // namespace retain

#define MPI_CHECK(call)                                                                            \
  do {                                                                                             \
    const int mpi_check_result = (call);                                                           \
    if (mpi_check_result != MPI_SUCCESS) ::retain::fail_mpi(RETAIN_HERE, mpi_check_result, #call); \
  } while (false)
