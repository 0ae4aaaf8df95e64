#include "kernels/core/memory.h"

#include "kernels/backend.h"

namespace retain {

Buffer::Buffer(Backend& backend, int64_t bytes)
    : backend_(&backend), data_(bytes > 0 ? backend.allocate(bytes) : nullptr), bytes_(bytes) {
  backend_->buffers_bytes_ += bytes_;
}

Buffer::~Buffer() {
  if (!data_) return;
  backend_->release(data_);
  backend_->buffers_bytes_ -= bytes_;
}

namespace {

/// Whether 64 bits hold the bytes of such a tensor behind so many others.
bool can_be_counted(int64_t used_bytes, DType dtype, std::initializer_list<int64_t> shape) {
  int64_t bytes = dtype_bytes(dtype), end = 0;
  for (const int64_t size : shape) {
    if (__builtin_mul_overflow(bytes, size, &bytes)) return false;
  }
  return !__builtin_add_overflow(used_bytes, bytes, &end) && !__builtin_add_overflow(end, kAlignmentBytes, &end);
}

}  // namespace

TensorView Arena::take(DType dtype, std::initializer_list<int64_t> shape) {
  if (!can_be_counted(used_bytes_, dtype, shape)) {
    std::string sizes;
    for (const int64_t size : shape) sizes += concat(sizes.empty() ? "" : " x ", size);
    throw Error(ErrorKind::kConfig, concat("a tensor of ", sizes, " ", dtype_name(dtype), " behind ", used_bytes_,
                                           " bytes is more than 64 bits count; fewer tokens or a smaller model"));
  }
  TensorView view(base_ ? base_ + used_bytes_ : nullptr, dtype, shape);
  used_bytes_ = align_up(used_bytes_ + view.bytes(), kAlignmentBytes);
  RETAIN_CHECK(!base_ || used_bytes_ <= capacity_bytes_, "arena of ", capacity_bytes_, " bytes cannot hold ",
               view.describe(), " at ", used_bytes_);
  return view;
}

}  // namespace retain
