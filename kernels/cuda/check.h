// Checks of calls to CUDA and cuBLAS, and of kernel launches. A failure throws Error(kDevice), or
// Error(kOutOfMemory) when the device has no memory left, with the operation, the call and the library's text.
#pragma once

#include <cublasLt.h>
#include <cuda_runtime_api.h>

#include <source_location>
#include <string>

#include "kernels/core/error.h"

namespace retain::cuda {

[[noreturn]] void fail_cuda(cudaError_t status, const char* call, const std::string& operation,
                            std::source_location where = std::source_location::current());
[[noreturn]] void fail_cublas(cublasStatus_t status, const char* call, const std::string& operation,
                              std::source_location where = std::source_location::current());

}  // namespace retain::cuda

/// CUDA_CHECK(cudaX(...), parts of the operation's name...)
#define CUDA_CHECK(call, ...)                                                          \
  do {                                                                                 \
    const cudaError_t retain_status_ = (call);                                         \
    if (retain_status_ != cudaSuccess) {                                               \
      ::retain::cuda::fail_cuda(retain_status_, #call, ::retain::concat(__VA_ARGS__)); \
    }                                                                                  \
  } while (false)

#define CUBLAS_CHECK(call, ...)                                                          \
  do {                                                                                   \
    const cublasStatus_t retain_status_ = (call);                                        \
    if (retain_status_ != CUBLAS_STATUS_SUCCESS) {                                       \
      ::retain::cuda::fail_cublas(retain_status_, #call, ::retain::concat(__VA_ARGS__)); \
    }                                                                                    \
  } while (false)

/// After every kernel launch. CUDA_LAUNCH_BLOCKING=1 makes it also see errors of the kernel itself.
#define LAUNCH_CHECK(...) CUDA_CHECK(cudaGetLastError(), __VA_ARGS__)
