#include <algorithm>

#include "kernels/cpu/cpu_backend.h"

namespace retain::cpu {
namespace {

constexpr int64_t kColumns = 64;  ///< columns of the gradient that one task sums over all tokens

template <class T>
void embedding_typed(const EmbeddingArgs& a, ThreadPool* threads) {
  const Matrix<T> weight(a.weight), x(a.x);
  const Vector<const int32_t> tokens(a.tokens);
  const T scale = static_cast<T>(a.scale);
  parallel_for(threads, x.rows, [&](int64_t i) {
    const int64_t token =
        tokens[i] < 0 && a.drawn ? Vector<const int32_t>(a.drawn)[Vector<const int32_t>(a.places)[i]] : tokens[i];
    const int64_t row = token - a.first_row;
    T* out = x.row(i);
    if (row < 0 || row >= weight.rows) return static_cast<void>(std::fill_n(out, x.columns, T{0}));
    const T* in = weight.row(row);
    for (int64_t j = 0; j < x.columns; ++j) out[j] = scale * in[j];
  });
}

template <class T>
void embedding_backward_typed(const EmbeddingBackwardArgs& a, ThreadPool* threads) {
  const Matrix<T> dx(a.dx), dweight(a.dweight);
  const Vector<const int32_t> tokens(a.tokens), order(a.token_order);
  const int64_t blocks = (dx.columns + kColumns - 1) / kColumns;
  parallel_for(threads, blocks, [&](int64_t block) {
    const int64_t begin = block * kColumns, count = std::min(kColumns, dx.columns - begin);
    for (int64_t i = 0; i < dx.rows;) {
      const int32_t token = tokens[order[i]];
      double sum[kColumns] = {};
      for (; i < dx.rows && tokens[order[i]] == token; ++i) {
        const T* in = dx.row(order[i]) + begin;
        for (int64_t j = 0; j < count; ++j) sum[j] += in[j];
      }
      const int64_t row = token - a.first_row;
      if (row < 0 || row >= dweight.rows) continue;
      T* out = dweight.row(row) + begin;
      for (int64_t j = 0; j < count; ++j) out[j] += static_cast<T>(a.scale * sum[j]);
    }
  });
}

}  // namespace

void CpuBackend::do_embedding(const EmbeddingArgs& a) {
  dispatch(a.x.dtype, [&]<class T>(T) { embedding_typed<T>(a, threads_for(a.x.elements())); });
}

void CpuBackend::do_embedding_backward(const EmbeddingBackwardArgs& a) {
  dispatch(a.dx.dtype, [&]<class T>(T) { embedding_backward_typed<T>(a, threads_for(a.dx.elements())); });
}

}  // namespace retain::cpu
