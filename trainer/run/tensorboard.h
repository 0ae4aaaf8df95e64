// Event files of TensorBoard: scalars by tag and step. Each start of a run writes a file of its own.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace retain {

using Scalars = std::vector<std::pair<std::string, double>>;  ///< tag and value

// Records: u64 length, its masked CRC-32C, an event, its masked CRC-32C, all little-endian. `wall_time`: seconds since
// 1970.

/// The first record of a file.
std::string tensorboard_version(double wall_time);
/// A run begins at `step`: what earlier files hold of it and of later steps is void.
std::string tensorboard_start(double wall_time, int64_t step);
/// The values of a step, as float32.
std::string tensorboard_scalars(double wall_time, int64_t step, const Scalars& scalars);

/// The name of a new file in `folder`, behind those of earlier starts: TensorBoard reads files in the order of their
/// names.
std::string tensorboard_file_name(const std::string& folder, double wall_time);

}  // namespace retain
