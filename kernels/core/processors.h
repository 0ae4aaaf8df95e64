// How many threads a rank may keep busy: the processors that it may run on, not those that the machine has.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>

namespace retain {

/// A bit a processor of this machine.
using ProcessorSet = std::array<uint64_t, 128>;

/// The processors that the calling thread may run on; all bits are 0 where the system does not say.
ProcessorSet own_processors();
int count(const ProcessorSet& set);

struct ProcessorLimits {
  int own = 1;   ///< processors that this rank may run on
  int host = 1;  ///< that one or another rank of its host may run on
  /// Processors' worth of time that the tightest control group gives the ranks of this host together.
  std::optional<double> quota = std::nullopt;
  std::optional<int> omp_num_threads = std::nullopt;  ///< what the user wants at most
};

/// Of this process, as if it were the only rank: affinity, cpu.max of its control groups (version 2; the files are
/// under `root`) and OMP_NUM_THREADS.
ProcessorLimits read_processor_limits(const std::filesystem::path& root = "/");

/// Threads for one of the host's `ranks` ranks: an even part of what they share, the tightest limit counts; at least 1.
int threads_of_rank(const ProcessorLimits& limits, int ranks);

}  // namespace retain
