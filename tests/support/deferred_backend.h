// A CPU backend that runs as far behind the host as a device may: what is queued is computed when the host waits for
// it, and an upload beside the queue is there at once. A batch that is overwritten while a queued step still uses it,
// or a result that is read too early, shows.
#pragma once

#include <cstring>
#include <deque>
#include <functional>
#include <mutex>

#include "tests/support/wrapped_backend.h"

namespace retain::test {

class DeferredBackend final : public WrappedBackend {
 public:
  DeferredBackend() : WrappedBackend(make_cpu_backend(1)) {}

  bool runs_ahead() const override { return true; }
  void release(void* memory) noexcept override {
    queue_.run();
    WrappedBackend::release(memory);
  }
  void reserve_workspace(const WorkspaceShape& shape) override {
    queue_.run();
    WrappedBackend::reserve_workspace(shape);
  }
  void upload(const TensorView& device, const void* host) override {
    const auto* bytes = static_cast<const std::byte*>(host);
    queue_.push([this, device, copy = std::vector(bytes, bytes + device.bytes())] {
      WrappedBackend::upload(device, copy.data());
    });
  }
  void download(void* host, const TensorView& device) override {
    queue_.run();
    WrappedBackend::download(host, device);
  }
  void copy(const TensorView& dst, const TensorView& src) override {
    queue_.push([this, dst, src] { WrappedBackend::copy(dst, src); });
  }
  void fill(const TensorView& x, double value) override {
    queue_.push([this, x, value] { WrappedBackend::fill(x, value); });
  }
  void synchronize() override { queue_.run(); }
  std::unique_ptr<HostBuffer> make_host_buffer(int64_t bytes) override {
    return std::make_unique<DeferredBuffer>(WrappedBackend::make_host_buffer(bytes), queue_);
  }

 private:
  /// Work that the host has not waited for. The thread of a save waits too.
  class Queue {
   public:
    /// The place of what was pushed.
    int64_t push(std::function<void()> work) {
      const std::scoped_lock lock(mutex_);
      waiting_.push_back(std::move(work));
      return ++pushed_;
    }
    void run(int64_t place = INT64_MAX) {
      const std::scoped_lock lock(mutex_);
      for (; done_ < place && !waiting_.empty(); ++done_) {
        waiting_.front()();
        waiting_.pop_front();
      }
    }

   private:
    std::mutex mutex_;
    std::deque<std::function<void()>> waiting_;
    int64_t pushed_ = 0, done_ = 0;
  };

  class DeferredBuffer final : public HostBuffer {
   public:
    DeferredBuffer(std::unique_ptr<HostBuffer> inner, Queue& queue) : inner_(std::move(inner)), queue_(queue) {}
    ~DeferredBuffer() override { queue_.run(copied_); }

    std::byte* data() const override { return inner_->data(); }
    int64_t bytes() const override { return inner_->bytes(); }
    void begin_copy(std::span<const TensorView> tensors) override {
      copied_ = queue_.push([this, copy = std::vector(tensors.begin(), tensors.end())] { inner_->begin_copy(copy); });
    }
    void begin_upload(const TensorView& tensor) override { inner_->begin_upload(tensor); }
    void hold_queue() override {}
    double wait() override {
      queue_.run(copied_);
      return inner_->wait();
    }

   private:
    std::unique_ptr<HostBuffer> inner_;
    Queue& queue_;
    int64_t copied_ = 0;
  };

#define RETAIN_OPERATION(name, Args)                                \
  void do_##name(const Args& args) override {                       \
    queue_.push([this, args] { WrappedBackend::do_##name(args); }); \
  }
#include "kernels/operations.inc"

  Queue queue_;
};

}  // namespace retain::test
