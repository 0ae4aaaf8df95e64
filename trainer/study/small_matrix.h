// Linear algebra of a few unknowns.
#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <vector>

namespace retain {

/// Solves Mx = right for a positive definite M by Cholesky; false if it is none.
template <size_t N>
bool solve_positive(std::array<std::array<double, N>, N> m, const std::array<double, N>& right,
                    std::array<double, N>& x) {
  for (size_t j = 0; j < N; ++j) {
    for (size_t k = 0; k < j; ++k) m[j][j] -= m[j][k] * m[j][k];
    if (!(m[j][j] > 0)) return false;
    m[j][j] = std::sqrt(m[j][j]);
    for (size_t i = j + 1; i < N; ++i) {
      for (size_t k = 0; k < j; ++k) m[i][j] -= m[i][k] * m[j][k];
      m[i][j] /= m[j][j];
    }
  }
  x = right;
  for (size_t i = 0; i < N; ++i) {
    for (size_t k = 0; k < i; ++k) x[i] -= m[i][k] * x[k];
    x[i] /= m[i][i];
  }
  for (size_t i = N; i-- > 0;) {
    for (size_t k = i + 1; k < N; ++k) x[i] -= m[k][i] * x[k];
    x[i] /= m[i][i];
  }
  return true;
}

/// The condition of RᵀR (largest over smallest eigenvalue) for the rows R, with the first `removed` columns projected
/// out of the others.
double condition_of_squares(std::vector<std::vector<double>> rows, size_t removed);

}  // namespace retain
