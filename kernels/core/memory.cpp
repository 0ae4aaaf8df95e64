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

TensorView Arena::take(DType dtype, std::initializer_list<int64_t> shape) {
  TensorView view(base_ ? base_ + used_bytes_ : nullptr, dtype, shape);
  used_bytes_ = align_up(used_bytes_ + view.bytes(), kAlignmentBytes);
  RETAIN_CHECK(!base_ || used_bytes_ <= capacity_bytes_, "arena of ", capacity_bytes_, " bytes cannot hold ",
               view.describe(), " at ", used_bytes_);
  return view;
}

}  // namespace retain
