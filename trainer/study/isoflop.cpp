#include "trainer/study/isoflop.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>
#include <set>

#include "trainer/study/small_matrix.h"

namespace retain {
namespace {

std::optional<PowerLine> fit_line(const std::vector<Minimum>& points, double Minimum::*y) {
  double mean_x = 0, mean_y = 0, xx = 0, xy = 0;
  const auto count = static_cast<double>(points.size());
  for (const Minimum& p : points) mean_x += p.ln_flops / count, mean_y += p.*y / count;
  for (const Minimum& p : points) {
    xx += (p.ln_flops - mean_x) * (p.ln_flops - mean_x);
    xy += (p.ln_flops - mean_x) * (p.*y - mean_y);
  }
  if (!(xx > 0)) return std::nullopt;
  return PowerLine{xy / xx, mean_y - xy / xx * mean_x};
}

std::optional<Frontier> frontier_of(std::vector<Minimum> points) {
  const std::optional<PowerLine> params = fit_line(points, &Minimum::ln_params);
  const std::optional<PowerLine> tokens = fit_line(points, &Minimum::ln_tokens);
  if (!params || !tokens) return std::nullopt;
  return Frontier{*params, *tokens, std::move(points)};
}

size_t count_distinct(const std::vector<size_t>& runs, std::span<const double> ln_params) {
  std::set<int64_t> sizes;
  for (const size_t i : runs) sizes.insert(std::llround(ln_params[i] * 1e4));
  return sizes.size();
}

}  // namespace

std::vector<Budget> find_budgets(std::span<const double> ln_flops, std::span<const double> ln_params) {
  constexpr double kNeighbours = 0.14, kWidth = 0.34;  // ln 1.15, ln 1.4
  constexpr size_t kFewestSizes = 3;
  const double least_span = std::log(2.0);
  std::vector<size_t> order(ln_flops.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return ln_flops[a] < ln_flops[b]; });
  std::vector<Budget> budgets;
  for (size_t first = 0, last = 0; first < order.size(); first = last) {
    for (last = first + 1; last < order.size() && ln_flops[order[last]] - ln_flops[order[last - 1]] < kNeighbours;)
      ++last;
    Budget budget;
    budget.runs.assign(order.begin() + static_cast<std::ptrdiff_t>(first),
                       order.begin() + static_cast<std::ptrdiff_t>(last));
    if (ln_flops[order[last - 1]] - ln_flops[order[first]] > kWidth) continue;
    if (count_distinct(budget.runs, ln_params) < kFewestSizes) continue;
    const auto smaller = [&](size_t a, size_t b) { return ln_params[a] < ln_params[b]; };
    const auto [least, most] = std::minmax_element(budget.runs.begin(), budget.runs.end(), smaller);
    if (ln_params[*most] - ln_params[*least] < least_span) continue;
    for (const size_t i : budget.runs) budget.ln_flops += ln_flops[i] / static_cast<double>(budget.runs.size());
    std::sort(budget.runs.begin(), budget.runs.end());
    budgets.push_back(std::move(budget));
  }
  return budgets;
}

double Parabola::at(double ln_params) const {
  const double t = ln_params - center;
  return c0 + c1 * t + c2 * t * t;
}

std::optional<Parabola> fit_parabola(const RunPoints& points, const Budget& budget, std::span<const double> weights) {
  std::vector<size_t> runs;
  for (const size_t i : budget.runs)
    if (weights[i] > 0) runs.push_back(i);
  if (count_distinct(runs, points.ln_params) < 3) return std::nullopt;
  Parabola p;
  double total = 0, excess = 0, ln_flops = 0;  // excess: ln C − ln N − ln D, ln 6 where C = 6ND
  p.least_ln_params = std::numeric_limits<double>::infinity();
  p.most_ln_params = -p.least_ln_params;
  for (const size_t i : runs) {
    total += weights[i];
    p.center += weights[i] * points.ln_params[i];
    ln_flops += weights[i] * points.ln_flops[i];
    excess += weights[i] * (points.ln_flops[i] - points.ln_params[i] - points.ln_tokens[i]);
    p.least_ln_params = std::min(p.least_ln_params, points.ln_params[i]);
    p.most_ln_params = std::max(p.most_ln_params, points.ln_params[i]);
  }
  p.center /= total;
  std::array<std::array<double, 3>, 3> m{};
  std::array<double, 3> right{}, c{};
  for (const size_t i : runs) {
    const double t = points.ln_params[i] - p.center;
    const std::array<double, 3> basis = {1, t, t * t};
    for (size_t a = 0; a < 3; ++a) {
      right[a] += weights[i] * basis[a] * points.loss[i];
      for (size_t b = 0; b < 3; ++b) m[a][b] += weights[i] * basis[a] * basis[b];
    }
  }
  if (!solve_positive<3>(m, right, c)) return std::nullopt;
  p.c0 = c[0], p.c1 = c[1], p.c2 = c[2];
  if (!p.has_minimum()) return p;
  p.minimum.ln_flops = ln_flops / total;
  p.minimum.ln_params = p.center - p.c1 / (2 * p.c2);
  p.minimum.ln_tokens = p.minimum.ln_flops - p.minimum.ln_params - excess / total;
  p.minimum.loss = p.at(p.minimum.ln_params);
  return p;
}

std::optional<Frontier> isoflop_frontier(const RunPoints& points, const std::vector<Budget>& budgets,
                                         std::span<const double> weights) {
  std::vector<Minimum> minima;
  for (const Budget& budget : budgets) {
    const std::optional<Parabola> parabola = fit_parabola(points, budget, weights);
    if (parabola && parabola->inside()) minima.push_back(parabola->minimum);
  }
  if (minima.size() < 2) return std::nullopt;
  return frontier_of(std::move(minima));
}

std::vector<size_t> envelope(const RunPoints& points, std::span<const double> weights) {
  std::vector<size_t> order;
  for (size_t i = 0; i < points.size(); ++i)
    if (weights[i] > 0) order.push_back(i);
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return points.ln_flops[a] != points.ln_flops[b] ? points.ln_flops[a] < points.ln_flops[b]
                                                    : points.loss[a] < points.loss[b];
  });
  std::vector<size_t> best;
  for (const size_t i : order)
    if (best.empty() || points.loss[i] < points.loss[best.back()]) best.push_back(i);
  return best;
}

std::optional<Frontier> envelope_frontier(const RunPoints& points, std::span<const double> weights) {
  std::vector<Minimum> best;
  for (const size_t i : envelope(points, weights))
    best.push_back({points.ln_flops[i], points.ln_params[i], points.ln_tokens[i], points.loss[i]});
  if (best.size() < 3) return std::nullopt;
  return frontier_of(std::move(best));
}

}  // namespace retain
