// Retention as a recurrence, S_n = γ S_{n−1} + k_nᵀ v_n and o_n = q_n S_n, one token after the other, the state in
// float64.
#include <cmath>

#include "kernels/cpu/retention.h"

namespace retain::cpu {
namespace {

/// One row of the state: state = keep · state + key · value, and what it adds to the output, sum += query · state.
template <class T>
RETAIN_INLINE void advance(double keep, double key, const T* value, double query, double* state, double* sum,
                           int64_t n) {
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) {
    state[j] = keep * state[j] + key * value[j];
    sum[j] += query * state[j];
  }
}

RETAIN_CLONES void advance_row(double keep, double key, const float* value, double query, double* state, double* sum,
                               int64_t n) {
  advance(keep, key, value, query, state, sum, n);
}
RETAIN_CLONES void advance_row(double keep, double key, const double* value, double query, double* state, double* sum,
                               int64_t n) {
  advance(keep, key, value, query, state, sum, n);
}

}  // namespace

template <class T>
void retention_recurrent(const RetentionArgs& a, ThreadPool* threads, void* scratch, int64_t bytes_per_thread) {
  const HeadRows<T> q(a.q), k(a.k), v(a.v), o(a.o);
  const RetentionContext& context = a.context;
  const DocumentStart start(context.document_start);
  const Vector<const double> log2_gamma(context.log2_gamma);
  const int64_t key_dim = q.width, value_dim = v.width, size = key_dim * value_dim;
  const T* state_in = a.state_in ? a.state_in.as<T>() : nullptr;
  T* state_out = a.state_out ? a.state_out.as<T>() : nullptr;

  parallel_items(threads, q.batch * q.heads, [&](int64_t item, int thread) {
    const int64_t b = item / q.heads, h = item % q.heads;
    const double lg = log2_gamma[h], gamma = std::exp2(lg);
    ScratchParts parts(scratch, bytes_per_thread, thread);
    auto* state = parts.take<double>(size);
    auto* sum = parts.take<double>(value_dim);
    std::fill_n(state, size, 0.0);
    if (state_in) std::copy_n(state_in + item * size, size, state);
    for (int64_t t = 0; t < q.tokens; ++t) {
      const bool document_begins = start && start.at(b, t) >= context.position_offset + t;
      const double keep = document_begins ? 0.0 : gamma;
      const double query_scale = unfold_query(lg, t, context.folded_chunk);
      const double key_scale = unfold_key(lg, t, context.folded_chunk);
      const T *query = q.at(b, t, h), *key = k.at(b, t, h), *value = v.at(b, t, h);
      std::fill_n(sum, value_dim, 0.0);
      for (int64_t i = 0; i < key_dim; ++i) {
        advance_row(keep, key_scale * key[i], value, query_scale * query[i], state + i * value_dim, sum, value_dim);
      }
      T* out = o.at(b, t, h);
      for (int64_t j = 0; j < value_dim; ++j) out[j] = static_cast<T>(sum[j]);
    }
    if (!state_out) return;
    for (int64_t i = 0; i < size; ++i) state_out[item * size + i] = static_cast<T>(state[i]);
  });
}

template void retention_recurrent<float>(const RetentionArgs&, ThreadPool*, void*, int64_t);
template void retention_recurrent<double>(const RetentionArgs&, ThreadPool*, void*, int64_t);

}  // namespace retain::cpu
