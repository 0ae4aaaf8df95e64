// How much of a machine's memory this process and those started with it may have, and whether its own limits are
// enough.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

namespace retain {

/// What the system calls available or, where that is less, what the limits of this process's control groups (version 2)
/// leave (of a job under Slurm, of a container), whose page cache can be given back. In bytes; nothing where no file
/// under `root` tells.
std::optional<int64_t> available_memory_bytes(const std::filesystem::path& root = "/");

/// Throws Error(kOutOfMemory) naming the limit where stacks are too small for what the libraries put on them (HDF5 dies
/// of that): ulimit -s.
void check_stack_limit();
/// The same where the limit of addresses (ulimit -v) leaves less than `planned_bytes` and what OpenBLAS and so many
/// computing threads take besides: OpenBLAS would ask for its memory again and again, for ever.
void check_address_limit(int64_t planned_bytes, int threads);

}  // namespace retain
