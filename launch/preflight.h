// What can be known to be wrong before a run starts anything: inputs that are missing or too short, no GPU, too little
// memory. Thrown alike on all ranks.
#pragma once

#include <string>
#include <vector>

#include "launch/session.h"
#include "trainer/data/documents.h"

namespace retain {

/// A run does not begin with the weights of itself: with --init-from of a checkpoint in its own run.dir it would go on
/// and leave that unused. Collective over `host`. Throws ConfigError(kUsage).
void check_beginning(Communicator& host, const TrainOptions& options, const RunConfig& run);
/// Looks at the data and for a GPU; returns, on rank 0, what people should know of the data. Collective over `host`.
/// Throws ConfigError: kMissingInput, kData, kDevice.
std::vector<SetNote> check_inputs(Communicator& host, const Config& config, const Target& target);
/// Where segments are to fill the ranks' GPUs: target.memory_bytes becomes what every one of them can have. Collective
/// over `host`. Throws ConfigError(kDevice).
void agree_on_memory(Communicator& host, const Config& config, Target& target, const LocalPlace& place);
/// Looks at the memory of the ranks' devices alone: of each GPU, or of the machine of rank 0. Collective over `host`.
/// Throws ConfigError: kDevice, kOutOfMemory. Rank 0 prints a warning of any rank.
void check_memory(Communicator& host, const Config& config, const Target& target, const LocalPlace& place);

/// The same, and on GPUs the memory of the machines besides, which a training run saves checkpoints from.
void check_all_memory(Communicator& host, const Config& config, const Target& target, const LocalPlace& place);

/// Throws ConfigError(kOutOfMemory) that names the largest parts and what would help, unless `available_bytes` of a
/// machine's memory hold `local_ranks` ranks, or, on GPUs, what their checkpoints are written from.
void check_host_memory(const Config& config, int ranks, const Target& target, int local_ranks, int64_t available_bytes);
/// The same for a rank's GPU, whose memory was asked for by this process. What NCCL takes is too uncertain to refuse a
/// run for: when that alone may be too much, returns a warning; otherwise nothing.
std::string check_gpu_memory(const Config& config, int ranks, const Target& target, const GpuMemory& memory);

}  // namespace retain
