#include <algorithm>
#include <cmath>
#include <cstdint>

#include "kernels/cpu/cpu_backend.h"

namespace retain::cpu {
namespace {

template <class T>
void retention_add_state_typed(const RetentionAddStateArgs& a, ThreadPool* threads) {
  const int64_t batch = a.states.shape[0], chunks = a.states.shape[1], heads = a.states.shape[2];
  const int64_t size = a.states.shape[3] * a.states.shape[4], tokens = a.tokens, chunk = a.context.chunk;
  const DocumentStart start(a.context.document_start);
  const Vector<const double> log2_gamma(a.context.log2_gamma);
  // The token of the segment, counted from its first, at which the document of token t starts; < 0: before it.
  const auto document = [&](int64_t b, int64_t t) {
    return start ? start.at(b, t) - a.context.position_offset : int64_t{-1};
  };
  parallel_for(threads, batch * chunks * heads, [&](int64_t i) {
    const int64_t b = i / (chunks * heads), c = i / heads % chunks, h = i % heads;
    const int64_t first = c * chunk, end = std::min(tokens, first + chunk);
    const bool sees = a.reverse ? document(b, tokens - 1) < end : c == 0 || document(b, first - 1) < 0;
    if (!sees) return;
    const int64_t between = a.reverse ? tokens - end : first;
    const double decay = std::exp2(log2_gamma[h] * static_cast<double>(between));
    const T* state = a.state.as<T>() + (b * heads + h) * size;
    T* to = a.states.as<T>() + i * size;
    for (int64_t j = 0; j < size; ++j) to[j] = static_cast<T>(to[j] + decay * state[j]);
  });
}

}  // namespace

void CpuBackend::do_retention_add_state(const RetentionAddStateArgs& a) {
  dispatch(a.states.dtype, [&]<class T>(T) { retention_add_state_typed<T>(a, threads_for(a.states.elements())); });
}

}  // namespace retain::cpu
