// Whole pages of host memory from the operating system: for blocks of gigabytes that live as long as the program.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace retain {

/// Owns zeroed pages, large ones where the system has them; all are there from the start, so that a machine with too
/// little memory shows now. Neither copied nor moved.
class HostPages {
 public:
  /// Throws Error(kOutOfMemory).
  explicit HostPages(int64_t bytes);
  HostPages(const HostPages&) = delete;
  HostPages& operator=(const HostPages&) = delete;

  std::byte* data() const { return mapping_.get(); }
  int64_t bytes() const { return mapping_.get_deleter().bytes; }

 private:
  struct Unmap {
    int64_t bytes;
    void operator()(std::byte* memory) const;
  };
  std::unique_ptr<std::byte, Unmap> mapping_;  // null for no bytes
};

}  // namespace retain
