// How much of a machine's memory this process and those started with it may have.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

namespace retain {

/// What the system calls available or, where that is less, what the limits of this process's control groups (version 2)
/// leave (of a job under Slurm, of a container), whose page cache can be given back. In bytes; nothing where no file
/// under `root` tells.
std::optional<int64_t> available_memory_bytes(const std::filesystem::path& root = "/");

}  // namespace retain
