// What every operation of the CUDA backend works with: one ordered queue of work on one GPU with its streams, its
// scratch memory and its matrix products. Used by one thread.
#pragma once

#include <array>
#include <optional>
#include <string>

#include "kernels/core/activity.h"
#include "kernels/cuda/handles.h"
#include "kernels/cuda/matmul.h"
#include "kernels/cuda/tensor_map.h"
#include "kernels/cuda/workspace_layout.h"

namespace retain::cuda {

/// A stream and the cuBLASLt workspace that products on it use.
struct Lane {
  cudaStream_t stream = nullptr;
  void* matmul_workspace = nullptr;
};

class Queue {
 public:
  /// Tells `activity`, which outlives it, of the host's waits.
  Queue(int device, Activity& activity);

  int device() const { return device_; }
  int multiprocessors() const { return multiprocessors_; }
  /// Dynamic shared memory that one thread block can have.
  int64_t shared_memory_bytes() const { return shared_memory_bytes_; }
  /// For Hopper's own kernels; null if the device is another or they were not compiled.
  const TensorMapEncoder* hopper() const { return hopper_ ? &*hopper_ : nullptr; }
  cudaStream_t stream() const { return streams_[0].get(); }
  /// Makes the device current for the calling thread.
  void activate() const { CUDA_CHECK(cudaSetDevice(device_), "cuda"); }
  void synchronize() const;
  /// The host waits for an event of this device. Any thread.
  void wait(const Event& event, const char* in) const;

  /// Fixes the workspace at `bytes` in all; afterwards nothing is allocated any more.
  void reserve(int64_t bytes);
  int64_t workspace_bytes() const { return workspace_bytes_; }
  const void* workspace() const { return workspace_.get(); }
  /// Scratch for one operation, valid until the next operation asks. Before reserve() it grows on demand, afterwards
  /// an operation that needs more than was reserved throws Error(kInternal).
  void* scratch(const char* operation, int64_t bytes);

  Matmul& matmul() { return matmul_; }
  const Matmul& matmul() const { return matmul_; }
  /// Lane 0 is the compute stream itself. Between fork() and join() the lanes run side by side: what was queued before
  /// fork() is done before any lane starts, and what comes after join() waits for all of them.
  Lane lane(int index);
  void fork();
  void join();

 private:
  void grow(int64_t bytes);

  Activity& activity_;
  int device_;
  int multiprocessors_ = 0;
  int64_t shared_memory_bytes_ = 0;
  std::optional<TensorMapEncoder> hopper_;
  std::array<Stream, kLanes> streams_;
  std::array<Event, kLanes> events_;
  DeviceMemory workspace_;
  int64_t workspace_bytes_ = 0;
  bool reserved_ = false;
  Matmul matmul_;
};

}  // namespace retain::cuda
