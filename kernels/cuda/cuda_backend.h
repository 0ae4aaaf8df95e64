// The CUDA backend: kernels/backend.h on one GPU, cuBLASLt for products and own kernels for the rest. bfloat16 or
// float32 activations; everything accumulated is float32, scalars float64. Operations are queued on one non-blocking
// stream; only download and synchronize wait for it, and the first product of a new shape, which is measured.
#pragma once

#include <array>
#include <string>

#include "kernels/backend.h"
#include "kernels/cuda/queue.h"

namespace retain::cuda {

class CudaBackend final : public Backend {
 public:
  /// Throws Error(kDevice) when the device is not there or older than sm_80.
  explicit CudaBackend(int device);
  ~CudaBackend() override;

  const char* name() const override { return "cuda"; }
  std::string device_description() const override { return description_; }
  bool host_accessible() const override { return false; }
  int64_t fold_chunk(int64_t key_dim, int64_t value_dim) const override;
  void* stream() const override { return queue_.stream(); }
  std::unique_ptr<DeviceTimer> make_timer() override;
  std::string tuning() const override { return queue_.matmul().plans(); }
  std::string set_tuning(const std::string& text) override { return current().matmul().set_plans(text); }
  void begin_phase(const char* name) override;
  void end_phase() override;
  void set_profiling(bool on) override;

  void* allocate(int64_t bytes) override;
  void release(void* memory) noexcept override;
  void reserve_workspace(const WorkspaceShape& shape) override;
  int64_t reserved_bytes() const override { return queue_.workspace_bytes(); }
  void upload(const TensorView& device, const void* host) override;
  void download(void* host, const TensorView& device) override;
  void synchronize() override;
  std::optional<GpuMemory> gpu_memory() const override { return cuda_memory(queue_.device()); }
  std::unique_ptr<HostBuffer> make_host_buffer(int64_t bytes) override;

 protected:
  void do_copy(const TensorView& dst, const TensorView& src) override;
  void do_fill(const TensorView& x, double value) override;
  void do_fill_normal(const FillNormalArgs& args) override;
  void do_matmul(const MatmulArgs& args) override;
  void do_embedding(const EmbeddingArgs& args) override;
  void do_embedding_backward(const EmbeddingBackwardArgs& args) override;
  void do_rms_norm(const RmsNormArgs& args) override;
  void do_rms_norm_backward(const RmsNormBackwardArgs& args) override;
  void do_rotate(const RotateArgs& args) override;
  void do_retention(const RetentionArgs& args) override;
  void do_retention_backward(const RetentionBackwardArgs& args) override;
  void do_retention_state(const RetentionStateArgs& args) override;
  void do_retention_state_gradient(const RetentionStateGradientArgs& args) override;
  void do_segment_scan(const SegmentScanArgs& args) override;
  void do_head_norm_gate(const HeadNormGateArgs& args) override;
  void do_head_norm_gate_backward(const HeadNormGateBackwardArgs& args) override;
  void do_ffn_activation(const FfnActivationArgs& args) override;
  void do_ffn_activation_backward(const FfnActivationBackwardArgs& args) override;
  void do_cross_entropy_statistics(const CrossEntropyStatisticsArgs& args) override;
  void do_cross_entropy(const CrossEntropyArgs& args) override;
  void do_reduce(const ReduceArgs& args) override;
  void do_clip_scale(const ClipScaleArgs& args) override;
  void do_adamw(const AdamwArgs& args) override;

 private:
  /// Pinned host memory through which uploads and downloads go, so that the copies are asynchronous. A slot is free
  /// again once its event has passed.
  struct Slot {
    PinnedMemory memory;
    Event copied;
  };
  Queue& current();

  Queue queue_;
  std::string description_;
  std::array<Slot, 4> slots_;
  size_t next_slot_ = 0;
};

}  // namespace retain::cuda
