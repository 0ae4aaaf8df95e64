// What the forms of retention share on CPU. Private to kernels/cpu.
#pragma once

#include <algorithm>
#include <cmath>

#include "kernels/cpu/cpu_backend.h"

namespace retain::cpu {

/// Factor that takes the folded decay γ^(t mod chunk) out of the query of token t; 1 when nothing is folded.
inline double unfold_query(double log2_gamma, int64_t t, int64_t folded_chunk) {
  return folded_chunk > 0 ? std::exp2(-log2_gamma * static_cast<double>(t % folded_chunk)) : 1.0;
}
/// Factor that takes the folded decay γ^-(t mod chunk) out of the key of token t; 1 when nothing is folded.
inline double unfold_key(double log2_gamma, int64_t t, int64_t folded_chunk) {
  return folded_chunk > 0 ? std::exp2(log2_gamma * static_cast<double>(t % folded_chunk)) : 1.0;
}

/// One thread's scratch, handed out in parts.
class ScratchParts {
 public:
  ScratchParts(void* scratch, int64_t bytes_per_thread, int thread)
      : next_(static_cast<char*>(scratch) + thread * bytes_per_thread) {}
  template <class T>
  T* take(int64_t count) {
    T* part = reinterpret_cast<T*>(next_);
    next_ += bytes<T>(count);
    return part;
  }
  template <class T>
  static constexpr int64_t bytes(int64_t count) {
    return (count * int64_t{sizeof(T)} + 63) / 64 * 64;
  }

 private:
  char* next_;
};

// The three forms of the forward; `scratch` holds retention_scratch_bytes() for each thread.
template <class T>
void retention_parallel(const RetentionArgs& a, ThreadPool* threads, void* scratch, int64_t bytes_per_thread);
template <class T>
void retention_recurrent(const RetentionArgs& a, ThreadPool* threads, void* scratch, int64_t bytes_per_thread);
template <class T>
void retention_chunkwise(const RetentionArgs& a, ThreadPool* threads, void* scratch, int64_t bytes_per_thread);

template <class T>
void retention_chunkwise_backward(const RetentionBackwardArgs& a, ThreadPool* threads, void* scratch,
                                  int64_t bytes_per_thread);
template <class T>
void retention_chunkwise_state(const RetentionStateArgs& a, ThreadPool* threads, void* scratch,
                               int64_t bytes_per_thread);
template <class T>
void retention_chunkwise_state_gradient(const RetentionStateGradientArgs& a, ThreadPool* threads, void* scratch,
                                        int64_t bytes_per_thread);

}  // namespace retain::cpu
