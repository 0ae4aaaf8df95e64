// Ownership of memory: a Buffer owns one block of a backend's memory, an Arena hands out parts of one Buffer. An Arena
// without a Buffer only counts, so that the plan and the allocation are one piece of code.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <utility>

#include "kernels/core/tensor.h"

namespace retain {

class Backend;

/// Every part of an arena starts at a multiple of this, so that vector loads and GEMMs are aligned.
inline constexpr int64_t kAlignmentBytes = 256;

constexpr int64_t align_up(int64_t value, int64_t alignment) { return (value + alignment - 1) / alignment * alignment; }

/// Owns one block of a backend's memory; move-only; releases without throwing. The backend outlives it.
class Buffer {
 public:
  Buffer() = default;
  /// Throws Error(kOutOfMemory). The memory is not initialised.
  Buffer(Backend& backend, int64_t bytes);
  ~Buffer();
  Buffer(Buffer&& other) noexcept { swap(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    swap(other);
    return *this;
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  void* data() const { return data_; }
  int64_t bytes() const { return bytes_; }

 private:
  void swap(Buffer& other) noexcept {
    std::swap(backend_, other.backend_);
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
  }
  Backend* backend_ = nullptr;
  void* data_ = nullptr;
  int64_t bytes_ = 0;
};

/// Hands out aligned parts of one block, first to last. Without a block it only counts: views then have
/// a null data pointer and the right shape.
class Arena {
 public:
  Arena() = default;
  explicit Arena(const Buffer& buffer) : base_(static_cast<char*>(buffer.data())), capacity_bytes_(buffer.bytes()) {}
  /// Of a block that another one handed out, or of the host's.
  explicit Arena(const TensorView& block) : base_(static_cast<char*>(block.data)), capacity_bytes_(block.bytes()) {}

  /// Throws Error(kInternal) when the block is exhausted: the plan was wrong.
  TensorView take(DType dtype, std::initializer_list<int64_t> shape);

  int64_t used_bytes() const { return used_bytes_; }

 private:
  char* base_ = nullptr;
  int64_t capacity_bytes_ = 0;
  int64_t used_bytes_ = 0;
};

}  // namespace retain
