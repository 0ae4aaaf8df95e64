// For parallel/mpi only: mpi.h without its C++ bindings, and the macro that every call goes through.
#pragma once

#ifndef OMPI_SKIP_MPICXX
#define OMPI_SKIP_MPICXX 1
#endif
#include <mpi.h>

#include <source_location>

namespace retain {

/// Throws Error(kDevice) with the call's text and MPI's message.
[[noreturn]] void fail_mpi(int result, const char* call, std::source_location where = std::source_location::current());

}  // namespace retain

#define MPI_CHECK(call)                                                               \
  do {                                                                                \
    const int mpi_check_result = (call);                                              \
    if (mpi_check_result != MPI_SUCCESS) ::retain::fail_mpi(mpi_check_result, #call); \
  } while (false)
