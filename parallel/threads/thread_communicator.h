// N ranks as threads of one process: how everything distributed runs without a launcher, in `selftest` and in tests.
// Sums are taken in the order of the ranks. A rank whose communicator is destroyed (because it ended, or an exception
// unwinds it) makes the others throw instead of hang, and so does a rank that does not come within the deadline or
// calls something else.
#pragma once

#include <chrono>
#include <memory>
#include <vector>

#include "parallel/communicator.h"

namespace retain {

/// The communicators of n ranks (n >= 1); each is used and destroyed by one thread. A collective for which some rank
/// keeps the others waiting longer than the deadline throws Error(kInternal). One rank alone gets a self communicator.
std::vector<std::unique_ptr<Communicator>> make_thread_communicators(
    int n, std::chrono::milliseconds deadline = std::chrono::seconds(120));

}  // namespace retain
