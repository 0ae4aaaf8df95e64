// Approaches 1 and 2 of Hoffmann et al. 2022: compute-optimal sizes from the runs themselves, without a law. Both are
// biased even without noise, and by how much on a given grid is what they find on a law's own surface there:
//
//   approach 1, the envelope: of the runs that none with as little compute beats, ln N by ln C. Bias: sizes are those
//     that were trained, and of runs that are nearly as good noise picks the luckiest.
//   approach 2, isoFLOP: in each budget a parabola of loss in ln N; ln N of its minimum by ln C. Bias: the loss is no
//     parabola in ln N unless alpha = beta, so minima move with the width and the centre of the grid (2603.22339).
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <vector>

namespace retain {

/// Logarithms of the runs; loss is what an approach looks at, measured or of a law.
struct RunPoints {
  std::vector<double> ln_params, ln_tokens, ln_flops, loss;
  size_t size() const { return loss.size(); }
};

/// y = exp(intercept)·C^slope.
struct PowerLine {
  double slope = 0, intercept = 0;
};

struct Minimum {
  double ln_flops = 0, ln_params = 0, ln_tokens = 0, loss = 0;
};

/// What an approach finds: N* = …·C^a and D* = …·C^b, from these points.
struct Frontier {
  PowerLine params, tokens;
  std::vector<Minimum> points;
};

/// Runs of about the same compute: no two neighbours further apart than 15 % and all within 40 %, with at least three
/// sizes over a factor of two.
struct Budget {
  double ln_flops = 0;  ///< the mean
  std::vector<size_t> runs;
};
std::vector<Budget> find_budgets(std::span<const double> ln_flops, std::span<const double> ln_params);

/// loss = c0 + c1·t + c2·t² with t = ln N − center, by least squares over the runs of a budget with a weight.
struct Parabola {
  double center = 0, c0 = 0, c1 = 0, c2 = 0;
  double least_ln_params = 0, most_ln_params = 0;  ///< of the runs
  Minimum minimum;                                 ///< where c2 > 0
  bool has_minimum() const { return c2 > 0; }
  /// Whether the minimum lies among the runs: beyond the two outermost sizes on either side nothing holds it.
  bool inside() const {
    return has_minimum() && minimum.ln_params > least_ln_params && minimum.ln_params < most_ln_params;
  }
  double at(double ln_params) const;
};
/// Nothing for fewer than three sizes.
std::optional<Parabola> fit_parabola(const RunPoints& points, const Budget& budget, std::span<const double> weights);

/// Over the budgets whose minimum lies inside; nothing for fewer than two.
std::optional<Frontier> isoflop_frontier(const RunPoints& points, const std::vector<Budget>& budgets,
                                         std::span<const double> weights);
/// The runs that none with as little compute beats, by compute.
std::vector<size_t> envelope(const RunPoints& points, std::span<const double> weights);
/// Over the envelope; nothing for fewer than three runs.
std::optional<Frontier> envelope_frontier(const RunPoints& points, std::span<const double> weights);

}  // namespace retain
