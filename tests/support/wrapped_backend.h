// A backend that passes everything on to another one: what tests derive from to change one thing.
#pragma once

#include "kernels/backend.h"

namespace retain::testing {

class WrappedBackend : public Backend {
 public:
  explicit WrappedBackend(std::unique_ptr<Backend> inner) : inner_(std::move(inner)) {}

  const char* name() const override { return inner_->name(); }
  std::string device_description() const override { return inner_->device_description(); }
  bool host_accessible() const override { return inner_->host_accessible(); }
  int64_t fold_chunk(int64_t key_dim, int64_t value_dim) const override {
    return inner_->fold_chunk(key_dim, value_dim);
  }
  void* stream() const override { return inner_->stream(); }
  std::unique_ptr<DeviceTimer> make_timer() override { return inner_->make_timer(); }
  std::string tuning() const override { return inner_->tuning(); }
  std::string set_tuning(const std::string& text) override { return inner_->set_tuning(text); }
  void* allocate(int64_t bytes) override { return inner_->allocate(bytes); }
  void release(void* memory) noexcept override { inner_->release(memory); }
  void reserve_workspace(const WorkspaceShape& shape) override { inner_->reserve_workspace(shape); }
  void upload(const TensorView& device, const void* host) override { inner_->upload(device, host); }
  void download(void* host, const TensorView& device) override { inner_->download(host, device); }
  void synchronize() override { inner_->synchronize(); }
  std::unique_ptr<HostBuffer> make_host_buffer(int64_t bytes) override { return inner_->make_host_buffer(bytes); }

 protected:
  // Buffers are counted here, so that the other backend counts its workspace alone.
  int64_t reserved_bytes() const override { return inner_->allocated_bytes(); }
  // clang-format off
  void do_copy(const TensorView& dst, const TensorView& src) override { inner_->copy(dst, src); }
  void do_fill(const TensorView& x, double value) override { inner_->fill(x, value); }
  void do_fill_normal(const FillNormalArgs& a) override { inner_->fill_normal(a); }
  void do_matmul(const MatmulArgs& a) override { inner_->matmul(a); }
  void do_embedding(const EmbeddingArgs& a) override { inner_->embedding(a); }
  void do_embedding_backward(const EmbeddingBackwardArgs& a) override { inner_->embedding_backward(a); }
  void do_rms_norm(const RmsNormArgs& a) override { inner_->rms_norm(a); }
  void do_rms_norm_backward(const RmsNormBackwardArgs& a) override { inner_->rms_norm_backward(a); }
  void do_rotate(const RotateArgs& a) override { inner_->rotate(a); }
  void do_retention(const RetentionArgs& a) override { inner_->retention(a); }
  void do_retention_backward(const RetentionBackwardArgs& a) override { inner_->retention_backward(a); }
  void do_retention_state(const RetentionStateArgs& a) override { inner_->retention_state(a); }
  void do_retention_state_gradient(const RetentionStateGradientArgs& a) override { inner_->retention_state_gradient(a); }
  void do_segment_scan(const SegmentScanArgs& a) override { inner_->segment_scan(a); }
  void do_head_norm_gate(const HeadNormGateArgs& a) override { inner_->head_norm_gate(a); }
  void do_head_norm_gate_backward(const HeadNormGateBackwardArgs& a) override { inner_->head_norm_gate_backward(a); }
  void do_ffn_activation(const FfnActivationArgs& a) override { inner_->ffn_activation(a); }
  void do_ffn_activation_backward(const FfnActivationBackwardArgs& a) override { inner_->ffn_activation_backward(a); }
  void do_cross_entropy_statistics(const CrossEntropyStatisticsArgs& a) override { inner_->cross_entropy_statistics(a); }
  void do_cross_entropy(const CrossEntropyArgs& a) override { inner_->cross_entropy(a); }
  void do_reduce(const ReduceArgs& a) override { inner_->reduce(a); }
  void do_clip_scale(const ClipScaleArgs& a) override { inner_->clip_scale(a); }
  void do_adamw(const AdamwArgs& a) override { inner_->adamw(a); }
  // clang-format on

 private:
  std::unique_ptr<Backend> inner_;
};

}  // namespace retain::testing
