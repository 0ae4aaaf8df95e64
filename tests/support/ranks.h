// Ranks for tests. The same test source runs over threads (link thread_ranks.cpp and gtest_main) and over MPI processes
// (link mpi_main.cpp): on_every_group() is defined by what is linked.
#pragma once

#include <chrono>
#include <functional>

#include "parallel/communicator.h"

namespace retain::test {

using RankBody = std::function<void(Communicator&)>;

/// Runs the body on n ranks as threads. Exceptions are collected and rethrown as one Error with the ranks that threw,
/// in the order in which they did, and the kind of the first.
void run_ranks(int n, const RankBody& body, std::chrono::milliseconds deadline = std::chrono::seconds(60));

/// Runs the body on groups of 1, 2, 3, 4 and 7 threads one after the other, or on all processes of MPI.
void on_every_group(const RankBody& body);

}  // namespace retain::test
