// Into how many chunks of rows the ranks of tp cut what they exchange (parallel/sequence_parallel.h): more chunks leave
// less of an exchange uncovered and make products smaller. What is best depends on the links, so it is measured.
#pragma once

#include <string>

#include "trainer/trainer.h"

namespace retain {

/// Whether parallel.tp_chunks: auto means to measure: on a GPU with tp > 1. Elsewhere it is 1.
bool measures_tp_chunks(const Trainer& trainer);

/// Gives the trainer's model the number of chunks with which its forward is fastest, by measuring it on this machine
/// with a batch of zeros. The slowest rank's times count, so that every rank of the mesh comes to the same number.
/// Between steps; collective over the mesh. Returns the times, for people: "1: 70.2 ms, 2: 66.1 ms".
std::string measure_tp_chunks(Trainer& trainer);

}  // namespace retain
