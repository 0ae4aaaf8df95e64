// The CUDA backend: kernels/backend.h on one GPU, cuBLASLt for products and own kernels for the rest. bfloat16 or
// float32 activations; everything accumulated is float32, scalars float64. Operations are queued on one non-blocking
// stream, each defined in its own file. The host waits for the stream in download and synchronize, in an upload while
// the pinned slots are full, and in the first product of a new shape, which is measured.
#pragma once

#include <array>
#include <string>

#include "kernels/backend.h"
#include "kernels/cuda/milestones.h"
#include "kernels/cuda/queue.h"

namespace retain::cuda {

class CudaBackend final : public Backend {
 public:
  /// Throws Error(kDevice) when the device is not there or older than sm_80.
  explicit CudaBackend(int device, Activity* activity = nullptr);
  ~CudaBackend() override;

  Device device() const override { return Device::kCuda; }
  std::string device_description() const override { return description_; }
  std::string device_place() const override;
  void* stream() const override { return queue_.stream(); }
  std::unique_ptr<DeviceTimer> make_timer() override;
  bool runs_ahead() const override { return true; }
  std::string tuning() const override { return queue_.matmul().plans(); }
  int64_t times_learned() const override { return queue_.matmul().times_chosen(); }
  std::string set_tuning(const std::string& text) override { return current().matmul().set_plans(text); }
  void set_profiling(bool on) override;
  std::unique_ptr<Recording> record(const std::function<void()>& work) override;  // recording.cpp

  void* allocate(int64_t bytes) override;
  void release(void* memory) noexcept override;
  void reserve_workspace(const WorkspaceShape& shape) override;
  int64_t reserved_bytes() const override { return queue_.workspace_bytes(); }
  void upload(const TensorView& device, const void* host) override;
  void download(void* host, const TensorView& device) override;
  void copy(const TensorView& dst, const TensorView& src) override;
  void fill(const TensorView& x, double value) override;
  void synchronize() override;
  std::optional<GpuMemory> gpu_memory() const override { return cuda_memory(queue_.device()); }
  std::unique_ptr<HostBuffer> make_host_buffer(int64_t bytes) override;

 protected:
  void do_begin_phase(const char* name) override;
  void do_end_phase() override;
  void do_begin_layer() override;
#define RETAIN_OPERATION(name, Args) void do_##name(const Args& args) override;
#include "kernels/operations.inc"

 private:
  /// Pinned host memory through which uploads and downloads go, so that the copies are asynchronous. A slot is free
  /// again once its event has passed.
  struct Slot {
    PinnedMemory memory;
    Event copied;
  };
  /// The queue, its device made current for the calling thread.
  Queue& current();

  void mark(const Activity::Place& place);

  Queue queue_;
  Milestones milestones_;
  const char* phase_ = "";
  bool records_ = false;  ///< what is queued is kept for later
  std::string description_;
  std::array<Slot, 4> slots_;
  size_t next_slot_ = 0;
  Activity::Question question_;  ///< last: it uses the rest
};

}  // namespace retain::cuda
