// Event files of TensorBoard: scalars by tag and step. Each start of a run writes a file of its own.
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

namespace retain {

using Scalars = std::vector<std::pair<std::string, double>>;  ///< tag and value

/// The bytes of records (u64 length, its masked CRC-32C, an event, its masked CRC-32C; all little-endian): with which a
/// file begins, with which a run begins at a step, and the scalars of a step. `wall_time`: seconds since 1970.
std::string tensorboard_version(double wall_time);
std::string tensorboard_start(double wall_time, int64_t step);
std::string tensorboard_scalars(double wall_time, int64_t step, const Scalars& scalars);

class TensorBoard {
 public:
  /// Writes to `folder`; an empty one writes nothing (other ranks). Folder and file are created by the first record.
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
