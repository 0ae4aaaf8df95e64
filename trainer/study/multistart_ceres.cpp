// The only user of Ceres.
#include <ceres/ceres.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "kernels/core/random.h"
#include "trainer/study/multistart.h"
#include "trainer/study/parallel_for.h"

namespace retain {
namespace {

using Beta = LawForm::Beta;

/// Where the free constants stand among the variables: ln E, ln A, ln B, α, β, γ; −1 for one that is held.
struct Layout {
  explicit Layout(const LawForm& form) : form(form) {
    if (form.fits_e) e = count++;
    a = count++;
    if (form.beta != Beta::kNoData) b = count++;
    alpha = count++;
    if (form.beta == Beta::kFree) beta = count++;
    if (form.fits_gamma) gamma = count++;
  }
  const LawForm& form;
  int count = 0, e = -1, a = -1, b = -1, alpha = -1, beta = -1, gamma = -1;

  Law law(const double* x) const {
    Law law;
    law.e = e < 0 ? 0 : std::exp(x[e]);
    law.a = std::exp(x[a]);
    law.b = b < 0 ? 0 : std::exp(x[b]);
    law.alpha = x[alpha];
    law.beta = form.beta == Beta::kFree      ? x[beta]
               : form.beta == Beta::kAsAlpha ? x[alpha]
               : form.beta == Beta::kOne     ? 1
                                             : 0;
    law.gamma = gamma < 0 ? 1 : x[gamma];
    return law;
  }
};

/// ln L(N, D) − ln loss of one point, with ln L a sum of exponentials taken relative to the largest.
class LogResidual : public ceres::CostFunction {
 public:
  LogResidual(const Layout& layout, double ln_params, double ln_tokens, double ln_loss)
      : layout_(layout), ln_params_(ln_params), ln_tokens_(ln_tokens), ln_loss_(ln_loss) {
    set_num_residuals(1);
    mutable_parameter_block_sizes()->push_back(layout.count);
  }

  bool Evaluate(double const* const* parameters, double* residuals, double** jacobians) const override {
    const double* x = parameters[0];
    const Layout& at = layout_;
    const Law law = at.law(x);
    const double p = x[at.a] - law.alpha * ln_params_, q = at.b < 0 ? -1e300 : x[at.b] - law.beta * ln_tokens_;
    const double top = std::max(p, q), ln_sum = top + std::log(std::exp(p - top) + std::exp(q - top));
    const double power = law.gamma * ln_sum, e = at.e < 0 ? -1e300 : x[at.e];
    const double largest = std::max(power, e);
    const double ln_l = largest + std::log(std::exp(power - largest) + std::exp(e - largest));
    residuals[0] = ln_l - ln_loss_;
    if (!std::isfinite(residuals[0])) return false;
    if (jacobians && jacobians[0]) {
      double* j = jacobians[0];
      std::fill_n(j, at.count, 0.0);
      const double share = std::exp(power - ln_l);  // of the reducible loss
      const double by_p = law.gamma * share * std::exp(p - ln_sum), by_q = law.gamma * share * std::exp(q - ln_sum);
      if (at.e >= 0) j[at.e] = std::exp(e - ln_l);
      j[at.a] = by_p;
      if (at.b >= 0) j[at.b] = by_q;
      j[at.alpha] = -by_p * ln_params_ - (at.form.beta == Beta::kAsAlpha ? by_q * ln_tokens_ : 0);
      if (at.beta >= 0) j[at.beta] = -by_q * ln_tokens_;
      if (at.gamma >= 0) j[at.gamma] = share * ln_sum;
    }
    return true;
  }

 private:
  const Layout layout_;
  double ln_params_, ln_tokens_, ln_loss_;
};

std::vector<double> draw_start(const Layout& layout, const LawPoints& points, uint64_t key, int start) {
  const auto uniform = [&](int which, double low, double high) {
    const uint64_t bits =
        philox_bits(key, static_cast<uint64_t>(start) * Law::kConstants + static_cast<uint64_t>(which));
    return low + (high - low) * static_cast<double>(bits >> 11) * 0x1p-53;
  };
  std::vector<double> x(static_cast<size_t>(layout.count));
  const auto set = [&](int place, double value) {
    if (place >= 0) x[static_cast<size_t>(place)] = value;
  };
  const double alpha = uniform(0, 0, 2), gamma = layout.gamma < 0 ? 1 : uniform(1, 0.2, 2);
  const double beta = layout.form.beta == Beta::kFree ? uniform(2, 0, 2) : layout.form.beta == Beta::kOne ? 1 : alpha;
  set(layout.e, uniform(3, -1, 1));
  set(layout.a, (uniform(4, 0, 25) - alpha * points.mean_ln_params));
  set(layout.b, (uniform(5, 0, 25) - beta * points.mean_ln_tokens));
  set(layout.alpha, alpha);
  set(layout.beta, beta);
  set(layout.gamma, gamma);
  return x;
}

void set_bounds(ceres::Problem& problem, double* x, const Layout& layout) {
  const auto bound = [&](int place, double low, double high) {
    if (place < 0) return;
    problem.SetParameterLowerBound(x, place, low);
    problem.SetParameterUpperBound(x, place, high);
  };
  bound(layout.alpha, kExponentBounds.low, kExponentBounds.high);
  bound(layout.beta, kExponentBounds.low, kExponentBounds.high);
  bound(layout.gamma, kExponentBounds.gamma_low, kExponentBounds.gamma_high);
}

LawFit solve(const Layout& layout, const LawPoints& points, double delta, std::vector<double> x) {
  ceres::Problem problem;
  // Ceres minimizes half of HuberLoss(r²), which is huber(r). The problem owns both functions.
  auto* const loss = new ceres::HuberLoss(delta);
  for (size_t i = 0; i < points.size(); ++i)
    problem.AddResidualBlock(new LogResidual(layout, points.ln_params[i], points.ln_tokens[i], points.ln_loss[i]), loss,
                             x.data());
  set_bounds(problem, x.data(), layout);
  ceres::Solver::Options options;
  options.linear_solver_type = ceres::DENSE_QR;
  options.logging_type = ceres::SILENT;
  options.max_num_iterations = 400;
  options.function_tolerance = 1e-13;
  options.gradient_tolerance = 1e-14;
  options.parameter_tolerance = 1e-12;
  ceres::Solver::Summary summary;
  ceres::Solve(options, &problem, &summary);
  return {layout.law(x.data()), summary.final_cost};
}

}  // namespace

bool have_ceres() { return true; }

std::optional<SearchedFit> fit_by_multistart(const LawForm& form, const LawPoints& points, double delta, int starts,
                                             uint64_t seed, int threads) {
  const Layout layout(form);
  const uint64_t key = stream_key(seed, std::string("study starts of ") + form.name);
  std::vector<LawFit> found(static_cast<size_t>(starts));
  parallel_for(threads, starts, [&](int i) {
    found[static_cast<size_t>(i)] = solve(layout, points, delta, draw_start(layout, points, key, i));
  });
  SearchedFit best;
  best.objective = std::numeric_limits<double>::infinity();
  for (const LawFit& each : found)
    if (each.objective < best.objective) static_cast<LawFit&>(best) = each;
  best.starts = starts;
  for (const LawFit& each : found) best.starts_at_optimum += each.objective <= best.objective * (1 + 1e-6) + 1e-18;
  return best;
}

}  // namespace retain
