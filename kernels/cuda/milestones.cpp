#include "kernels/cuda/milestones.h"

namespace retain::cuda {

bool Milestones::has_room(int64_t marks) {
  const std::lock_guard lock(mutex_);
  return end_ - first_ + marks <= kMarks;
}

void Milestones::mark(cudaStream_t stream, const Activity::Place& mark) {
  const std::lock_guard lock(mutex_);
  if (end_ - first_ == kMarks) return;
  CUDA_CHECK(cudaEventRecord(events_[slot(end_)].get(), stream), "a mark for the watchdog");
  marks_[slot(end_)] = mark;
  ++end_;
}

void Milestones::look() {
  const std::lock_guard lock(mutex_);
  for (; first_ < end_ && cudaEventQuery(events_[slot(first_)].get()) == cudaSuccess; ++first_)
    passed_(marks_[slot(first_)]);
  static_cast<void>(cudaGetLastError());  // that one was not passed is no error, and a failure stays one
}

}  // namespace retain::cuda
