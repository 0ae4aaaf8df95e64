#include "trainer/study/small_matrix.h"

#include <algorithm>
#include <limits>

namespace retain {

double condition_of_squares(std::vector<std::vector<double>> rows, size_t removed) {
  if (rows.empty()) return std::numeric_limits<double>::infinity();
  const size_t columns = rows.front().size();
  const auto product = [&](size_t a, size_t b) {
    double sum = 0;
    for (const std::vector<double>& row : rows) sum += row[a] * row[b];
    return sum;
  };
  // Gram–Schmidt against each removed column.
  for (size_t k = 0; k < removed; ++k) {
    const double square = product(k, k);
    if (square <= 0) continue;
    for (size_t j = k + 1; j < columns; ++j) {
      const double share = product(k, j) / square;
      for (std::vector<double>& row : rows) row[j] -= share * row[k];
    }
  }
  // Jacobi rotations of columns until they are orthogonal (Hestenes 1958): their lengths are the singular values, with
  // the small ones as exact as the large ones.
  constexpr int kSweeps = 60;
  for (int sweep = 0; sweep < kSweeps; ++sweep) {
    bool turned = false;
    for (size_t p = removed; p < columns; ++p) {
      for (size_t q = p + 1; q < columns; ++q) {
        const double pp = product(p, p), qq = product(q, q), pq = product(p, q);
        if (std::abs(pq) <= 1e-15 * std::sqrt(pp * qq)) continue;
        turned = true;
        const double zeta = (qq - pp) / (2 * pq);
        const double t = (zeta >= 0 ? 1 : -1) / (std::abs(zeta) + std::sqrt(1 + zeta * zeta));
        const double c = 1 / std::sqrt(1 + t * t), s = c * t;
        for (std::vector<double>& row : rows) {
          const double a = row[p];
          row[p] = c * a - s * row[q];
          row[q] = s * a + c * row[q];
        }
      }
    }
    if (!turned) break;
  }
  double least = std::numeric_limits<double>::infinity(), most = 0;
  for (size_t k = removed; k < columns; ++k)
    least = std::min(least, product(k, k)), most = std::max(most, product(k, k));
  return least > 0 ? most / least : std::numeric_limits<double>::infinity();
}

}  // namespace retain
