// HostBuffer of kernels/backend.h: page-locked memory, and a stream of its own on which tensors are copied to it or
// from it.
// Events order this stream and the queue; the host waits for nothing but in wait().
#pragma once

#include "kernels/backend.h"
#include "kernels/core/host_pages.h"
#include "kernels/cuda/queue.h"

namespace retain::cuda {

class PinnedBuffer final : public HostBuffer {
 public:
  /// The queue outlives it.
  PinnedBuffer(const Queue& queue, int64_t bytes);
  ~PinnedBuffer() override;

  std::byte* data() const override { return pages_.data(); }
  int64_t bytes() const override { return pages_.bytes(); }
  void begin_copy(std::span<const TensorView> tensors) override;
  void begin_upload(const TensorView& tensor) override;
  void hold_queue() override;
  double wait() override;

 private:
  const Queue& queue_;
  HostPages pages_;
  PageLock lock_;
  Stream stream_;
  Event ready_, begin_, end_;  // the queue came to the copy; the copy began; the copy ended
};

}  // namespace retain::cuda
