// Ranks for tests. The same test source runs over threads (link thread_ranks.cpp and gtest_main) and over MPI processes
// (link mpi_main.cpp): on_every_group() is defined by what is linked.
#pragma once

#include "parallel/threads/run_ranks.h"

namespace retain::test {

using retain::run_ranks;

/// Runs the body on groups of 1, 2, 3, 4 and 7 threads one after the other, or on all processes of MPI.
void on_every_group(const RankBody& body);

}  // namespace retain::test
