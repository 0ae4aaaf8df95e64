// Runs one body on n ranks that are threads of this process.
#pragma once

#include <chrono>
#include <functional>

#include "parallel/communicator.h"

namespace retain {

using RankBody = std::function<void(Communicator&)>;

/// Runs the body on n ranks as threads. Exceptions are collected and rethrown as one Error with the ranks that threw,
/// in the order in which they did, and the kind of the first.
void run_ranks(int n, const RankBody& body, std::chrono::milliseconds deadline = std::chrono::seconds(60));

}  // namespace retain
