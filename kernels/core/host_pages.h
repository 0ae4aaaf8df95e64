// Whole pages of host memory from the operating system: for blocks of gigabytes that live as long as the program.
#pragma once

#include <cstddef>
#include <cstdint>

namespace retain {

/// Owns zeroed pages, large ones where the system has them; all are there from the start, so that a machine with too
/// little memory shows now. Neither copied nor moved.
class HostPages {
 public:
  /// Throws Error(kOutOfMemory).
  explicit HostPages(int64_t bytes);
  ~HostPages();
  HostPages(const HostPages&) = delete;
  HostPages& operator=(const HostPages&) = delete;

  std::byte* data() const { return data_; }
  int64_t bytes() const { return bytes_; }

 private:
  std::byte* data_ = nullptr;  // null for no bytes
  int64_t bytes_ = 0;
};

}  // namespace retain
