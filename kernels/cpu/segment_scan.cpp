#include <cmath>

#include "kernels/cpu/cpu_backend.h"

namespace retain::cpu {
namespace {

template <class T>
void segment_scan_typed(const SegmentScanArgs& a, ThreadPool* threads) {
  const int64_t ranks = a.gathered.shape[0], batch = a.gathered.shape[1], heads = a.gathered.shape[2];
  const int64_t size = a.gathered.shape[3] * a.gathered.shape[4];  // of one state
  const T* gathered = a.gathered.as<T>();
  const Matrix<float> carry(a.carry);
  const Vector<const double> log2_gamma(a.log2_gamma);
  parallel_for(threads, batch * heads, [&](int64_t i) {
    const int64_t b = i / heads;
    const double decay = std::exp2(static_cast<double>(a.segment_tokens) * log2_gamma[i % heads]);
    T* state = a.state.as<T>() + i * size;
    for (int64_t j = 0; j < size; ++j) {
      double s = 0;
      const auto add = [&](int64_t p) {
        s = decay * carry.row(p)[b] * s + gathered[(p * batch * heads + i) * size + j];
      };
      if (a.reverse) {
        for (int64_t p = ranks - 1; p > a.rank; --p) add(p);
      } else {
        for (int64_t p = 0; p < a.rank; ++p) add(p);
      }
      state[j] = static_cast<T>(s);
    }
  });
}

}  // namespace

void CpuBackend::do_segment_scan(const SegmentScanArgs& a) {
  dispatch(a.state.dtype, [&]<class T>(T) { segment_scan_typed<T>(a, threads_for(a.gathered.elements())); });
}

}  // namespace retain::cpu
