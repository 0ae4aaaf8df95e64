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
    for (int64_t at = i * size; at < (i + 1) * size; ++at) {
      double s = a.boundary ? a.boundary.as<T>()[at] : 0;
      for (int64_t step = 0; step < ranks; ++step) {
        const int64_t p = a.reverse ? ranks - 1 - step : step;
        if (p == a.rank) a.state.as<T>()[at] = static_cast<T>(s);
        if (p == a.rank && !a.result) break;
        s = decay * carry.row(p)[b] * s + gathered[p * batch * heads * size + at];
      }
      if (a.result) a.result.as<T>()[at] = static_cast<T>(s);
    }
  });
}

}  // namespace

void CpuBackend::do_segment_scan(const SegmentScanArgs& a) {
  dispatch(a.state.dtype, [&]<class T>(T) { segment_scan_typed<T>(a, threads_for(a.gathered.elements())); });
}

}  // namespace retain::cpu
