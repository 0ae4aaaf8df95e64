// The retention operations of the CPU backend: chooses the form and hands out the scratch.
#include "kernels/cpu/retention.h"

namespace retain::cpu {
namespace {

int64_t scratch_of(const TensorView& keys, const TensorView& values, const RetentionContext& context) {
  return retention_scratch_bytes(keys.shape[1], context.chunk, keys.shape[3], values.shape[3], dtype_bytes(keys.dtype));
}

/// Operations of the chunkwise form, and at least those of the others for one token.
int64_t work_of(const TensorView& keys, const TensorView& values, const RetentionContext& context) {
  return keys.elements() * (values.shape[3] + std::min(context.chunk, keys.shape[1]));
}

}  // namespace

void CpuBackend::do_retention(const RetentionArgs& a) {
  const int64_t bytes = scratch_of(a.k, a.v, a.context);
  ThreadPool* const threads = threads_for(work_of(a.k, a.v, a.context));
  void* memory = scratch(threads_.size() * bytes);
  dispatch(a.q.dtype, [&]<class T>(T) {
    switch (a.context.form) {
      case RetentionForm::kParallel: return retention_parallel<T>(a, threads, memory, bytes);
      case RetentionForm::kChunkwise: return retention_chunkwise<T>(a, threads, memory, bytes);
      case RetentionForm::kRecurrent: return retention_recurrent<T>(a, threads, memory, bytes);
    }
  });
}

void CpuBackend::do_retention_backward(const RetentionBackwardArgs& a) {
  const int64_t bytes = scratch_of(a.k, a.v, a.context);
  ThreadPool* const threads = threads_for(work_of(a.k, a.v, a.context));
  void* memory = scratch(threads_.size() * bytes);
  dispatch(a.q.dtype, [&]<class T>(T) { retention_chunkwise_backward<T>(a, threads, memory, bytes); });
}

void CpuBackend::do_retention_state(const RetentionStateArgs& a) {
  const int64_t bytes = scratch_of(a.k, a.v, a.context);
  ThreadPool* const threads = threads_for(work_of(a.k, a.v, a.context));
  void* memory = scratch(threads_.size() * bytes);
  dispatch(a.k.dtype, [&]<class T>(T) { retention_chunkwise_state<T>(a, threads, memory, bytes); });
}

void CpuBackend::do_retention_state_gradient(const RetentionStateGradientArgs& a) {
  const int64_t bytes = scratch_of(a.q, a.dout, a.context);
  ThreadPool* const threads = threads_for(work_of(a.q, a.dout, a.context));
  void* memory = scratch(threads_.size() * bytes);
  dispatch(a.q.dtype, [&]<class T>(T) { retention_chunkwise_state_gradient<T>(a, threads, memory, bytes); });
}

}  // namespace retain::cpu
