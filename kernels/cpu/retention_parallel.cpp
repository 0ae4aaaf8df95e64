// Retention as one masked product, O = (QKᵀ ⊙ D) V, row by row: quadratic in the tokens, and the plainest to read.
#include <cmath>

#include "kernels/cpu/retention.h"

namespace retain::cpu {
namespace {

template <class T>
RETAIN_INLINE double dot_rows(const T* x, const T* y, int64_t n) {
  double sum = 0;
#pragma omp simd reduction(+ : sum)
  for (int64_t i = 0; i < n; ++i) sum += static_cast<double>(x[i]) * y[i];
  return sum;
}
template <class T>
RETAIN_INLINE void add_scaled_row(double scale, const T* x, double* sum, int64_t n) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) sum[i] += scale * x[i];
}

RETAIN_CLONES double dot(const float* x, const float* y, int64_t n) { return dot_rows(x, y, n); }
RETAIN_CLONES double dot(const double* x, const double* y, int64_t n) { return dot_rows(x, y, n); }
RETAIN_CLONES void add_scaled(double scale, const float* x, double* sum, int64_t n) {
  add_scaled_row(scale, x, sum, n);
}
RETAIN_CLONES void add_scaled(double scale, const double* x, double* sum, int64_t n) {
  add_scaled_row(scale, x, sum, n);
}

}  // namespace

template <class T>
void retention_parallel(const RetentionArgs& a, ThreadPool* threads, void* scratch, int64_t bytes_per_thread) {
  const HeadRows<T> q(a.q), k(a.k), v(a.v), o(a.o);
  const RetentionContext& context = a.context;
  const DocumentStart start(context.document_start);
  const Vector<const double> log2_gamma(context.log2_gamma);
  const int64_t tokens = q.tokens, key_dim = q.width, value_dim = v.width;
  const T* state_in = a.state_in ? a.state_in.as<T>() : nullptr;
  T* state_out = a.state_out ? a.state_out.as<T>() : nullptr;

  parallel_items(threads, q.batch * q.heads, [&](int64_t item, int thread) {
    const int64_t b = item / q.heads, h = item % q.heads;
    const double lg = log2_gamma[h];
    const T* s_in = state_in ? state_in + item * key_dim * value_dim : nullptr;
    // Position of the first key that a token sees, and whether it sees the incoming state.
    const auto first_key = [&](int64_t t) {
      return start ? std::max<int64_t>(start.at(b, t) - context.position_offset, 0) : 0;
    };
    const auto sees_state = [&](int64_t t) { return s_in && (!start || start.at(b, t) < context.position_offset); };
    const auto unfold_q = [&](int64_t t) { return unfold_query(lg, t, context.folded_chunk); };
    const auto unfold_k = [&](int64_t t) { return unfold_key(lg, t, context.folded_chunk); };

    ScratchParts parts(scratch, bytes_per_thread, thread);
    auto* decay = parts.take<double>(tokens + 1);  // γ^distance
    for (int64_t distance = 0; distance <= tokens; ++distance) {
      decay[distance] = std::exp2(lg * static_cast<double>(distance));
    }
    auto* sum = parts.take<double>(value_dim);
    for (int64_t t = 0; t < tokens; ++t) {
      std::fill_n(sum, value_dim, 0.0);
      const T* query = q.at(b, t, h);
      for (int64_t s = first_key(t); s <= t; ++s) {
        const double score = dot(query, k.at(b, s, h), key_dim) * decay[t - s] * unfold_q(t) * unfold_k(s);
        add_scaled(score, v.at(b, s, h), sum, value_dim);
      }
      if (sees_state(t)) {
        for (int64_t i = 0; i < key_dim; ++i) {
          add_scaled(query[i] * decay[t + 1] * unfold_q(t), s_in + i * value_dim, sum, value_dim);
        }
      }
      T* out = o.at(b, t, h);
      for (int64_t j = 0; j < value_dim; ++j) out[j] = static_cast<T>(sum[j]);
    }
    if (!state_out) return;
    T* s_out = state_out + item * key_dim * value_dim;
    const int64_t last = tokens - 1;
    for (int64_t i = 0; i < key_dim; ++i) {
      std::fill_n(sum, value_dim, 0.0);
      for (int64_t s = first_key(last); s < tokens; ++s) {
        add_scaled(k.at(b, s, h)[i] * decay[last - s] * unfold_k(s), v.at(b, s, h), sum, value_dim);
      }
      if (sees_state(last)) add_scaled(decay[tokens], s_in + i * value_dim, sum, value_dim);
      for (int64_t j = 0; j < value_dim; ++j) s_out[i * value_dim + j] = static_cast<T>(sum[j]);
    }
  });
}

template void retention_parallel<float>(const RetentionArgs&, ThreadPool*, void*, int64_t);
template void retention_parallel<double>(const RetentionArgs&, ThreadPool*, void*, int64_t);

}  // namespace retain::cpu
