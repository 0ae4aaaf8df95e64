#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/cpu/vector_math.h"

namespace retain::cpu {
namespace {

/// The rows of a view [n,H,width].
template <class T>
struct StepRows {
  T* data;
  int64_t heads, width, row_stride, head_stride;

  explicit StepRows(const TensorView& x)
      : data(x.as<T>()), heads(x.shape[1]), width(x.shape[2]), row_stride(x.stride[0]), head_stride(x.stride[1]) {}
  T* at(int64_t i, int64_t h) const { return data + i * row_stride + h * head_stride; }
};

/// out = scale · x turned by the angles of the row.
template <class T>
void rotated(const T* x, const T* cos_sin, int64_t width, double scale, double* out) {
  const int64_t half = width / 2;
  for (int64_t j = 0; j < half; ++j) {
    const double c = scale * cos_sin[2 * j], s = scale * cos_sin[2 * j + 1];
    out[j] = x[j] * c - x[j + half] * s;
    out[j + half] = x[j + half] * c + x[j] * s;
  }
}

/// state = γ state + key · value of one row of the state, and what it adds to the output.
template <class T>
RETAIN_INLINE void advance_row(double gamma, double key, const T* value, double query, T* state, double* o, int64_t n) {
#pragma omp simd
  for (int64_t j = 0; j < n; ++j) {
    state[j] = static_cast<T>(gamma * state[j] + key * value[j]);
    o[j] += query * state[j];
  }
}

RETAIN_CLONES void advance(double gamma, double key, const float* value, double query, float* state, double* o,
                           int64_t n) {
  advance_row(gamma, key, value, query, state, o, n);
}
RETAIN_CLONES void advance(double gamma, double key, const double* value, double query, double* state, double* o,
                           int64_t n) {
  advance_row(gamma, key, value, query, state, o, n);
}

/// (1 − γ^m)/(1 − γ)
double decay_sum(double log2_gamma, int64_t m) {
  if (log2_gamma == 0) return static_cast<double>(m);
  constexpr double kLn2 = 0.69314718055994530942;
  return std::expm1(static_cast<double>(m) * log2_gamma * kLn2) / std::expm1(log2_gamma * kLn2);
}

template <class T>
void retention_step_typed(const RetentionStepArgs& a, ThreadPool* threads) {
  const StepRows<T> q(a.q), k(a.k), v(a.v), g(a.g), y(a.y);
  const Vector<const int32_t> slots(a.slots);
  const Vector<const double> log2_gamma(a.log2_gamma);
  const T* weight = a.weight ? a.weight.as<T>() : nullptr;
  const int64_t key_dim = q.width, value_dim = v.width;
  parallel_items(threads, a.q.shape[0] * q.heads, [&](int64_t item, int) {
    const int64_t i = item / q.heads, h = item % q.heads;
    T* out = y.at(i, h);
    if (slots[i] < 0) return static_cast<void>(std::fill_n(out, value_dim, T{0}));
    std::vector<double> query(key_dim), key(key_dim), o(value_dim, 0.0);
    const T* angles = a.table.as<T>() + i * key_dim;
    rotated(q.at(i, h), angles, key_dim, 1.0, query.data());
    rotated(k.at(i, h), angles, key_dim, 1.0 / std::sqrt(static_cast<double>(key_dim)), key.data());
    T* state = a.states.as<T>() + (slots[i] * q.heads + h) * key_dim * value_dim;
    const double gamma = std::exp2(log2_gamma[h]);
    for (int64_t r = 0; r < key_dim; ++r)
      advance(gamma, key[r], v.at(i, h), query[r], state + r * value_dim, o.data(), value_dim);

    double squares = 0, eps = a.eps;
    for (const double x : o) squares += x * x;
    if (a.eps_kind == GroupNormEps::kRowsum)
      eps *= decay_sum(log2_gamma[h], Vector<const int32_t>(a.positions)[i] + int64_t{1});
    const double rstd = 1 / std::sqrt(squares / static_cast<double>(value_dim) + eps);
    const T* gate = g.at(i, h);
    for (int64_t j = 0; j < value_dim; ++j)
      out[j] = static_cast<T>(silu(gate[j]) * (weight ? weight[j] : T{1}) * (o[j] * rstd));
  });
}

}  // namespace

void CpuBackend::do_retention_step(const RetentionStepArgs& a) {
  dispatch(a.q.dtype, [&]<class T>(T) { retention_step_typed<T>(a, threads_for(a.q.elements() * a.v.shape[2])); });
}

}  // namespace retain::cpu
