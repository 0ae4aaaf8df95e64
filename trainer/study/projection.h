// Fits of a law by variable projection (Golub and Pereyra 1973): a search over the exponents alone, with the best E, A,
// B
// >= 0 of each found inside. The objective is the sum over runs of Huber's function of
//
//   r = ln L(N, D) − ln loss
//
// with ln N and ln D centred, which takes five constants that nearly cancel (condition 1e11) to two that do not.
// Plain functions of values: any number of threads.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "trainer/study/law.h"

namespace retain {

/// What is fitted: one entry a run, logarithms centred by these means.
struct LawPoints {
  std::vector<double> ln_params, ln_tokens, ln_loss;  ///< the first two centred
  double mean_ln_params = 0, mean_ln_tokens = 0;

  size_t size() const { return ln_loss.size(); }
  /// The constants of the law that is `centred` in these coordinates, and back. A changes by a power of the mean size.
  Law uncentred(Law centred) const;
  Law centred(Law law) const;
};
LawPoints make_points(std::span<const double> params, std::span<const double> tokens, std::span<const double> loss);

/// Huber's function: r²/2 up to delta, then delta·(|r| − delta/2).
double huber(double residual, double delta);

/// Exponents stay within these, in every solver.
struct ExponentBounds {
  double low = -1, high = 6, gamma_low = 0.1, gamma_high = 5;
};
inline constexpr ExponentBounds kExponentBounds;
bool at_bound(const LawForm& form, const Law& law);

/// One fit; the law is centred.
struct LawFit {
  Law law;
  double objective = 0;
};

struct SearchedFit : LawFit {
  int starts = 0, starts_at_optimum = 0;  ///< searches, and those that came within 1e-6 of the best
};

/// The best law of a form for weighted points (weights are counts, or real numbers >= 0): searches from the best of a
/// grid of exponents.
SearchedFit fit_by_projection(const LawForm& form, const LawPoints& points, std::span<const double> weights,
                              double delta);
/// One search from a law that is near.
LawFit refit_by_projection(const LawForm& form, const LawPoints& points, std::span<const double> weights, double delta,
                           const Law& start);

/// Of the matrix Jᵀ W J of the residuals' derivatives, W the weights of Huber: by (ln E, ln A, ln B, exponents)
/// uncentred as solvers of all constants meet it, and by the exponents alone with the rest projected out.
struct Conditions {
  double all = 0, projected = 0;
};
Conditions conditions(const LawForm& form, const LawPoints& points, const Law& centred, double delta);

}  // namespace retain
