// Event files of TensorBoard: scalars by tag and step. Each start of a run writes a file of its own.
#pragma once

#include <cstdint>
#include <cstdio>
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

class TensorBoard {
 public:
  /// Writes to `folder`, which exists; an empty one writes nothing (other ranks). The first record creates the file.
  explicit TensorBoard(std::string folder) : folder_(std::move(folder)) {}
  ~TensorBoard();
  TensorBoard(const TensorBoard&) = delete;
  TensorBoard& operator=(const TensorBoard&) = delete;

  /// A run that resumes repeats the steps after its checkpoint: its first record voids what earlier files hold of that
  /// step and later ones. Throws Error(kCannotCreate), Error(kIo).
  void record(int64_t step, const Scalars& scalars);

 private:
  void open(double wall_time);
  std::string folder_, path_;
  std::FILE* file_ = nullptr;
};

}  // namespace retain
