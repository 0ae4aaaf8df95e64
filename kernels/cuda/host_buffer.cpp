#include "kernels/cuda/host_buffer.h"

namespace retain::cuda {

namespace {

PageLock page_lock(const HostPages& pages) {
  if (pages.bytes() == 0) return {};
  const cudaError_t status =
      cudaHostRegister(pages.data(), static_cast<size_t>(pages.bytes()), cudaHostRegisterDefault);
  if (status == cudaErrorMemoryAllocation) {
    static_cast<void>(cudaGetLastError());  // this error does not stick; later calls must not see it
    throw Error(ErrorKind::kOutOfMemory,
                concat("cannot page-lock ", pages.bytes(), " bytes (",
                       static_cast<double>(pages.bytes()) / (1024.0 * 1024.0 * 1024.0),
                       " GiB) of host memory for copies from the GPU: ", cudaGetErrorString(status)));
  }
  CUDA_CHECK(status, "page-locking ", pages.bytes(), " bytes of host memory (cudaHostRegister)");
  return PageLock(pages.data());
}

}  // namespace

PinnedBuffer::PinnedBuffer(const Queue& queue, int64_t bytes)
    : queue_(queue),
      pages_(bytes),
      lock_(page_lock(pages_)),
      stream_(make_stream()),
      ready_(make_event()),
      begin_(make_event(true)),
      end_(make_event(true)) {}

PinnedBuffer::~PinnedBuffer() {
  static_cast<void>(cudaSetDevice(queue_.device()));
  static_cast<void>(cudaStreamSynchronize(stream_.get()));  // the copy still writes to the pages
}

void PinnedBuffer::begin_copy(std::span<const TensorView> tensors) {
  queue_.activate();
  CUDA_CHECK(cudaEventRecord(ready_.get(), queue_.stream()), "copy to the host");
  CUDA_CHECK(cudaStreamWaitEvent(stream_.get(), ready_.get(), 0), "copy to the host");
  CUDA_CHECK(cudaEventRecord(begin_.get(), stream_.get()), "copy to the host");
  int64_t at = 0;
  for (const TensorView& tensor : tensors) {
    RETAIN_CHECK(tensor && tensor.contiguous() && at + tensor.bytes() <= bytes(), "copy of ", tensor.describe(),
                 " to byte ", at, " of ", bytes());
    CUDA_CHECK(cudaMemcpyAsync(data() + at, tensor.data, static_cast<size_t>(tensor.bytes()), cudaMemcpyDeviceToHost,
                               stream_.get()),
               "copy of ", tensor.describe(), " to the host");
    at += tensor.bytes();
  }
  CUDA_CHECK(cudaEventRecord(end_.get(), stream_.get()), "copy to the host");
}

void PinnedBuffer::begin_upload(const TensorView& tensor) {
  RETAIN_CHECK(tensor && tensor.contiguous() && tensor.bytes() <= bytes(), "upload of ", bytes(), " bytes to ",
               tensor.describe());
  queue_.activate();
  CUDA_CHECK(cudaEventRecord(begin_.get(), stream_.get()), "upload");
  CUDA_CHECK(
      cudaMemcpyAsync(tensor.data, data(), static_cast<size_t>(tensor.bytes()), cudaMemcpyHostToDevice, stream_.get()),
      "upload to ", tensor.describe());
  CUDA_CHECK(cudaEventRecord(end_.get(), stream_.get()), "upload");
}

void PinnedBuffer::hold_queue() {
  queue_.activate();
  CUDA_CHECK(cudaStreamWaitEvent(queue_.stream(), end_.get(), 0), "waiting for a copy beside the queue");
}

double PinnedBuffer::wait() {
  queue_.wait(end_, "a copy beside the queue");
  float ms = 0;
  CUDA_CHECK(cudaEventElapsedTime(&ms, begin_.get(), end_.get()), "time of a copy beside the queue");
  return ms;
}

}  // namespace retain::cuda
