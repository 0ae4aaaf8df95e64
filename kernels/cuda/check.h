// Checks of calls to CUDA and cuBLAS, and of kernel launches. A failure throws Error(kDevice), or
// Error(kOutOfMemory) when the device has no memory left, with the source line, the operation, the call and the
// library's text.
#pragma once

#include <cublasLt.h>
#include <cuda_runtime_api.h>

#include <string>

#include "kernels/core/error.h"

namespace retain::cuda {

[[noreturn]] void fail_cuda(const SourceLine& where, cudaError_t status, const char* call,
                            const std::string& operation);
[[noreturn]] void fail_cublas(const SourceLine& where, cublasStatus_t status, const char* call,
                              const std::string& operation);

}  // namespace retain::cuda

/// CUDA_CHECK(cudaX(...), parts of the operation's name...)
#define CUDA_CHECK(call, ...)                                                                       \
  do {                                                                                              \
    const cudaError_t retain_status_ = (call);                                                      \
    if (retain_status_ != cudaSuccess) {                                                            \
      ::retain::cuda::fail_cuda(RETAIN_HERE, retain_status_, #call, ::retain::concat(__VA_ARGS__)); \
    }                                                                                               \
  } while (false)

#define CUBLAS_CHECK(call, ...)                                                                       \
  do {                                                                                                \
    const cublasStatus_t retain_status_ = (call);                                                     \
    if (retain_status_ != CUBLAS_STATUS_SUCCESS) {                                                    \
      ::retain::cuda::fail_cublas(RETAIN_HERE, retain_status_, #call, ::retain::concat(__VA_ARGS__)); \
    }                                                                                                 \
  } while (false)

/// After every kernel launch. CUDA_LAUNCH_BLOCKING=1 makes it also see errors of the kernel itself.
#define LAUNCH_CHECK(...) CUDA_CHECK(cudaGetLastError(), __VA_ARGS__)
