#include "kernels/cuda/check.h"

namespace retain::cuda {

namespace {

/// Where memory ran out is nothing to the reader of the message.
[[noreturn]] void fail(const SourceLine& where, bool out_of_memory, const std::string& operation,
                       const std::string& reason) {
  const std::string message = concat(operation.empty() ? "cuda" : operation, ": ", reason);
  if (out_of_memory) throw Error(ErrorKind::kOutOfMemory, message);
  throw Error(ErrorKind::kDevice, concat(where, ": ", message));
}

}  // namespace

void fail_cuda(const SourceLine& where, cudaError_t status, const char* call, const std::string& operation) {
  fail(where, status == cudaErrorMemoryAllocation, operation,
       concat(call, ": ", cudaGetErrorName(status), ": ", cudaGetErrorString(status)));
}

void fail_cublas(const SourceLine& where, cublasStatus_t status, const char* call, const std::string& operation) {
  fail(where, status == CUBLAS_STATUS_ALLOC_FAILED, operation,
       concat(call, ": ", cublasLtGetStatusName(status), ": ", cublasLtGetStatusString(status)));
}

}  // namespace retain::cuda
