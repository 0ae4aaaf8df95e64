#include <cmath>

#include "kernels/cpu/cpu_backend.h"

namespace retain::cpu {

void CpuBackend::do_rotation_table(const RotationTableArgs& a) {
  dispatch(a.table.dtype, [&]<class T>(T) {
    const int64_t tokens = a.table.shape[0], pairs = a.table.shape[1];
    const auto* theta = a.theta.as<double>();
    T* const table = a.table.as<T>();
    const auto position = [&](int64_t t) {
      return a.positions ? a.positions.as<int32_t>()[t * a.positions.stride[0]] : a.offset + t;
    };
    parallel_for(threads_for(a.table.elements()), tokens, [&](int64_t t) {
      T* const row = table + t * pairs * 2;
      for (int64_t j = 0; j < pairs; ++j) {
        const double angle = static_cast<double>(position(t)) * theta[j];
        row[2 * j] = static_cast<T>(std::cos(angle));
        row[2 * j + 1] = static_cast<T>(std::sin(angle));
      }
    });
  });
}

}  // namespace retain::cpu
