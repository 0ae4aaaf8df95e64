// Owners of CUDA and cuBLAS handles: the constructor acquires or throws, the destructor releases without throwing,
// and nothing else. Move-only.
#pragma once

#include <cstdint>
#include <utility>

#include "kernels/cuda/check.h"

namespace retain::cuda {

/// H is a pointer type; Destroy releases one.
template <class H, auto Destroy>
class Handle {
 public:
  Handle() = default;
  explicit Handle(H handle) : handle_(handle) {}
  ~Handle() {
    if (handle_) static_cast<void>(Destroy(handle_));
  }
  Handle(Handle&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Handle& operator=(Handle&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;

  H get() const { return handle_; }
  /// Gives the ownership away.
  H release() { return std::exchange(handle_, nullptr); }
  explicit operator bool() const { return handle_ != nullptr; }

 private:
  H handle_ = nullptr;
};

using Stream = Handle<cudaStream_t, cudaStreamDestroy>;
using Event = Handle<cudaEvent_t, cudaEventDestroy>;
using Graph = Handle<cudaGraph_t, cudaGraphDestroy>;
using GraphExec = Handle<cudaGraphExec_t, cudaGraphExecDestroy>;  // one that runs ends before it is gone
using DeviceMemory = Handle<void*, cudaFree>;
using PinnedMemory = Handle<void*, cudaFreeHost>;
using PageLock = Handle<void*, cudaHostUnregister>;
using LtHandle = Handle<cublasLtHandle_t, cublasLtDestroy>;
using MatmulDesc = Handle<cublasLtMatmulDesc_t, cublasLtMatmulDescDestroy>;
using MatrixLayout = Handle<cublasLtMatrixLayout_t, cublasLtMatrixLayoutDestroy>;
using MatmulPreference = Handle<cublasLtMatmulPreference_t, cublasLtMatmulPreferenceDestroy>;

/// A stream that does not wait for the legacy default stream.
inline Stream make_stream() {
  cudaStream_t stream = nullptr;
  CUDA_CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  return Stream(stream);
}

/// An event that orders streams; `timing` lets it also measure.
inline Event make_event(bool timing = false) {
  cudaEvent_t event = nullptr;
  CUDA_CHECK(cudaEventCreateWithFlags(&event, timing ? cudaEventDefault : cudaEventDisableTiming));
  return Event(event);
}

/// Throws Error(kOutOfMemory) that says how much was asked for and how much is free.
DeviceMemory allocate_device(int64_t bytes, const char* what);
PinnedMemory allocate_pinned(int64_t bytes);

}  // namespace retain::cuda
