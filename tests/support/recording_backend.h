// A CPU backend that records: what was recorded is computed again with the arguments of then, as a GPU's graph is, so
// that an argument that differs from step to step shows.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "tests/support/wrapped_backend.h"

namespace retain::test {

class RecordingBackend final : public WrappedBackend {
 public:
  RecordingBackend() : WrappedBackend(make_cpu_backend(1)) {}

  int recordings = 0;  ///< made
  int queued = 0;      ///< of them, in all

  std::unique_ptr<Recording> record(const std::function<void()>& work) override {
    RETAIN_CHECK(!list_, "a recording in a recording");
    Work list;
    list_ = &list;
    work();
    list_ = nullptr;
    ++recordings;
    return std::make_unique<Recorded>(std::move(list), queued);
  }
  void upload(const TensorView& device, const void* host) override {
    RETAIN_CHECK(!list_, "upload in a recording");
    WrappedBackend::upload(device, host);
  }
  void download(void* host, const TensorView& device) override {
    RETAIN_CHECK(!list_, "download in a recording");
    WrappedBackend::download(host, device);
  }
  void synchronize() override {
    RETAIN_CHECK(!list_, "a wait in a recording");
    WrappedBackend::synchronize();
  }
  void copy(const TensorView& dst, const TensorView& src) override {
    take([this, dst, src] { WrappedBackend::copy(dst, src); });
  }
  void fill(const TensorView& x, double value) override {
    take([this, x, value] { WrappedBackend::fill(x, value); });
  }

 private:
  using Work = std::vector<std::function<void()>>;
  class Recorded final : public Recording {
   public:
    Recorded(Work work, int& queued) : work_(std::move(work)), queued_(queued) {}
    void queue() override {
      ++queued_;
      for (const auto& piece : work_) piece();
    }

   private:
    Work work_;
    int& queued_;
  };
  void take(std::function<void()> work) {
    if (list_) {
      list_->push_back(std::move(work));
    } else {
      work();
    }
  }
#define RETAIN_OPERATION(name, Args)                         \
  void do_##name(const Args& args) override {                \
    take([this, args] { WrappedBackend::do_##name(args); }); \
  }
#include "kernels/operations.inc"

  Work* list_ = nullptr;
};

}  // namespace retain::test
