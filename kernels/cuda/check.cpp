#include "kernels/cuda/check.h"

namespace retain::cuda {

namespace {

std::string describe(const std::string& operation, const char* call, const char* name, const char* text) {
  return concat(operation.empty() ? "cuda" : operation, ": ", call, ": ", name, ": ", text);
}

}  // namespace

void fail_cuda(cudaError_t status, const char* call, const std::string& operation, std::source_location where) {
  const ErrorKind kind = status == cudaErrorMemoryAllocation ? ErrorKind::kOutOfMemory : ErrorKind::kDevice;
  throw Error(kind, describe(operation, call, cudaGetErrorName(status), cudaGetErrorString(status)), where);
}

void fail_cublas(cublasStatus_t status, const char* call, const std::string& operation, std::source_location where) {
  const ErrorKind kind = status == CUBLAS_STATUS_ALLOC_FAILED ? ErrorKind::kOutOfMemory : ErrorKind::kDevice;
  throw Error(kind, describe(operation, call, cublasLtGetStatusName(status), cublasLtGetStatusString(status)), where);
}

}  // namespace retain::cuda
