// A backend that passes everything on to another one: what tests derive from to change one thing.
#pragma once

#include "kernels/backend.h"

namespace retain::test {

class WrappedBackend : public Backend {
 public:
  explicit WrappedBackend(std::unique_ptr<Backend> inner) : inner_(std::move(inner)) {}

  retain::Device device() const override { return inner_->device(); }
  std::string device_description() const override { return inner_->device_description(); }
  std::string device_place() const override { return inner_->device_place(); }
  void* stream() const override { return inner_->stream(); }
  std::unique_ptr<DeviceTimer> make_timer() override { return inner_->make_timer(); }
  bool runs_ahead() const override { return inner_->runs_ahead(); }
  std::string tuning() const override { return inner_->tuning(); }
  int64_t times_learned() const override { return inner_->times_learned(); }
  std::string set_tuning(const std::string& text) override { return inner_->set_tuning(text); }
  void* allocate(int64_t bytes) override { return inner_->allocate(bytes); }
  void release(void* memory) noexcept override { inner_->release(memory); }
  void reserve_workspace(const WorkspaceShape& shape) override { inner_->reserve_workspace(shape); }
  void upload(const TensorView& device, const void* host) override { inner_->upload(device, host); }
  void download(void* host, const TensorView& device) override { inner_->download(host, device); }
  void copy(const TensorView& dst, const TensorView& src) override { inner_->copy(dst, src); }
  void fill(const TensorView& x, double value) override { inner_->fill(x, value); }
  void synchronize() override { inner_->synchronize(); }
  std::unique_ptr<HostBuffer> make_host_buffer(int64_t bytes) override { return inner_->make_host_buffer(bytes); }

 protected:
  // Buffers are counted here, so that the other backend counts its workspace alone.
  int64_t reserved_bytes() const override { return inner_->allocated_bytes(); }
#define RETAIN_OPERATION(name, Args) \
  void do_##name(const Args& args) override { inner_->name(args); }
#include "kernels/operations.inc"

 private:
  std::unique_ptr<Backend> inner_;
};

}  // namespace retain::test
