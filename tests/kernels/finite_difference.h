// The gradient of a scalar function by central differences of fourth order: an error of about 1e-11 for smooth
// functions of values near one.
#pragma once

#include "tests/support/tensors.h"

namespace retain::test {

/// d f() / dx for each element of x, which f reads.
template <class F>
Values finite_difference(Values& x, const F& f) {
  Values gradient;
  for (double& element : x) {
    const double kept = element, step = 1e-3;
    const auto at = [&](double offset) {
      element = kept + offset;
      return f();
    };
    gradient.push_back((at(-2 * step) - 8 * at(-step) + 8 * at(step) - at(2 * step)) / (12 * step));
    element = kept;
  }
  return gradient;
}

inline double dot(const Values& a, const Values& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

}  // namespace retain::test
