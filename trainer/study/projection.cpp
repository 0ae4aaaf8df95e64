#include "trainer/study/projection.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "trainer/study/minimize.h"
#include "trainer/study/small_matrix.h"

namespace retain {
namespace {

using Vector3 = std::array<double, 3>;
using Matrix3 = std::array<Vector3, 3>;

/// An objective of rounding errors alone: residuals of 1e-12.
constexpr double kExact = 1e-22;

// ---- inside: the best E, A, B of given exponents ----

/// The amplitudes in the order of Vector3, and which of them a form has.
struct Amplitudes {
  Vector3 value{};
  std::array<bool, 3> fitted{};
};

/// Minimizes s'Ms/2 + g's where x + s >= 0 and s = 0 for what is not fitted: of all choices of what lies at zero, the
/// best that is legal.
Vector3 bounded_step(const Matrix3& m, const Vector3& g, const Amplitudes& x) {
  Vector3 best{};
  double best_value = 0;
  for (int zeros = 0; zeros < 8; ++zeros) {
    Matrix3 reduced{};
    Vector3 right{}, step{};
    bool legal = true;
    for (size_t i = 0; i < 3; ++i) {
      const bool at_zero = (zeros >> i & 1) != 0;
      legal &= !at_zero || x.fitted[i];
      if (at_zero) step[i] = -x.value[i];
    }
    if (!legal) continue;
    for (size_t i = 0; i < 3; ++i) {
      const bool free_i = x.fitted[i] && (zeros >> i & 1) == 0;
      for (size_t j = 0; j < 3; ++j) {
        const bool free_j = x.fitted[j] && (zeros >> j & 1) == 0;
        reduced[i][j] = free_i && free_j ? m[i][j] * (i == j ? 1 + 1e-13 : 1) : i == j ? 1 : 0;
        if (free_i && !free_j) right[i] -= m[i][j] * step[j];
      }
      right[i] = free_i ? right[i] - g[i] : step[i];
    }
    if (!solve_positive<3>(reduced, right, step)) continue;
    double value = 0;
    for (size_t i = 0; i < 3; ++i) {
      legal &= x.value[i] + step[i] >= 0;
      value += g[i] * step[i];
      for (size_t j = 0; j < 3; ++j) value += step[i] * m[i][j] * step[j] / 2;
    }
    if (legal && value < best_value) best_value = value, best = step;
  }
  return best;
}

struct Exponents {
  double alpha = 0, beta = 0, gamma = 1;
};

/// Points with a weight, and what the exponents make of them. One search owns one.
class Projection {
 public:
  Projection(const LawForm& form, const LawPoints& points, std::span<const double> weights, double delta)
      : form_(form), delta_(delta) {
    for (size_t i = 0; i < points.size(); ++i) {
      if (weights[i] <= 0) continue;
      x_.push_back(points.ln_params[i]);
      y_.push_back(points.ln_tokens[i]);
      ln_loss_.push_back(points.ln_loss[i]);
      weight_.push_back(weights[i]);
    }
    for (std::vector<double>* each : {&u_, &v_, &sum_, &power_, &residual_, &trial_residual_}) each->resize(x_.size());
    amplitudes_.fitted = {form.fits_e, true, form.beta != LawForm::Beta::kNoData};
  }

  /// Forgets the amplitudes: those of the next exponents are found from nothing.
  void restart() { warm_ = false; }
  void start_from(const Law& law) {
    amplitudes_.value = {law.e, law.a, law.b};
    gamma_ = law.gamma;
    warm_ = true;
  }

  /// The least objective with these exponents, and its derivatives by them.
  double solve(const Exponents& exponents, Exponents* gradient);
  Law law(const Exponents& z) const {
    return {amplitudes_.value[0], amplitudes_.value[1], amplitudes_.value[2], z.alpha, z.beta, z.gamma};
  }

 private:
  void set_exponents(const Exponents& exponents);
  void guess();
  double evaluate(const Vector3& amplitudes, std::vector<double>& residual);
  void derivatives(Matrix3& inliers, Matrix3& majorizer, Vector3& g) const;
  double descend();
  Exponents gradient() const;

  LawForm form_;
  double delta_;
  std::vector<double> x_, y_, ln_loss_, weight_;
  Exponents exponents_;
  std::vector<double> u_, v_;        // exp(−αx), exp(−βy)
  std::vector<double> sum_, power_;  // A·u + B·v, and its power γ, of the last evaluation
  std::vector<double> residual_, trial_residual_;
  Amplitudes amplitudes_;
  double gamma_ = 1;  // that the amplitudes belong to
  bool warm_ = false;
};

void Projection::set_exponents(const Exponents& exponents) {
  exponents_ = exponents;
  for (size_t i = 0; i < x_.size(); ++i) {
    u_[i] = std::exp(-exponents.alpha * x_[i]);
    v_[i] = amplitudes_.fitted[2] ? std::exp(-exponents.beta * y_[i]) : 0;
  }
  if (!warm_) return guess();
  // Under another γ the law keeps its value at the centre.
  const double centre = amplitudes_.value[1] + amplitudes_.value[2];
  if (gamma_ != exponents.gamma && centre > 0) {
    const double scale = std::pow(centre, gamma_ / exponents.gamma - 1);
    for (const size_t i : {1U, 2U}) amplitudes_.value[i] *= scale;
  }
  gamma_ = exponents.gamma;
}

/// A first guess: E below every loss, half of the rest at the centre each.
void Projection::guess() {
  double least = std::numeric_limits<double>::infinity(), mean = 0;
  for (const double each : ln_loss_) least = std::min(least, each), mean += each / static_cast<double>(ln_loss_.size());
  const double e = form_.fits_e ? 0.7 * std::exp(least) : 0;
  const double rest = std::pow(std::max(std::exp(mean) - e, 0.1 * std::exp(mean)), 1 / exponents_.gamma);
  amplitudes_.value = amplitudes_.fitted[2] ? Vector3{e, rest / 2, rest / 2} : Vector3{e, rest, 0};
  gamma_ = exponents_.gamma;
  warm_ = true;
}

double Projection::evaluate(const Vector3& amplitudes, std::vector<double>& residual) {
  double objective = 0;
  for (size_t i = 0; i < x_.size(); ++i) {
    sum_[i] = std::max(amplitudes[1] * u_[i] + amplitudes[2] * v_[i], 1e-300);
    power_[i] = exponents_.gamma == 1 ? sum_[i] : std::pow(sum_[i], exponents_.gamma);
    residual[i] = std::log(amplitudes[0] + power_[i]) - ln_loss_[i];
    objective += weight_[i] * huber(residual[i], delta_);
  }
  return objective;
}

/// Of the last evaluation: JᵀJ of what lies within delta, JᵀWJ with the weights of reweighted least squares, and Jᵀρ'.
void Projection::derivatives(Matrix3& inliers, Matrix3& majorizer, Vector3& g) const {
  inliers = majorizer = {};
  g = {};
  for (size_t k = 0; k < x_.size(); ++k) {
    const double loss = amplitudes_.value[0] + power_[k], by_sum = exponents_.gamma * power_[k] / sum_[k] / loss;
    const Vector3 j = {amplitudes_.fitted[0] ? 1 / loss : 0, by_sum * u_[k], by_sum * v_[k]};
    const double size = std::abs(residual_[k]);
    const double inlier = size <= delta_ ? weight_[k] : 0,
                 reweighted = weight_[k] * (size <= delta_ ? 1 : delta_ / size);
    for (size_t a = 0; a < 3; ++a) {
      g[a] += reweighted * residual_[k] * j[a];
      for (size_t b = 0; b < 3; ++b) {
        inliers[a][b] += inlier * j[a] * j[b];
        majorizer[a][b] += reweighted * j[a] * j[b];
      }
    }
  }
}

/// Iteratively reweighted Gauss–Newton. Its matrix lies between that of the points within delta (Newton's, fast near
/// the end) and that of all points reweighted (which bounds the objective from above, so that it always descends).
double Projection::descend() {
  double objective = evaluate(amplitudes_.value, residual_);
  double caution = 1e-3;
  for (int step = 0; step < 100; ++step) {
    Matrix3 inliers, majorizer;
    Vector3 g;
    derivatives(inliers, majorizer, g);
    double length = 1;
    bool moved = false, done = false;
    while (!moved && !done) {
      Matrix3 m;
      for (size_t a = 0; a < 3; ++a)
        for (size_t b = 0; b < 3; ++b) m[a][b] = (1 - caution) * inliers[a][b] + caution * majorizer[a][b];
      const Vector3 s = bounded_step(m, g, amplitudes_);
      double expected = 0;
      Vector3 trial = amplitudes_.value;
      for (size_t a = 0; a < 3; ++a) {
        trial[a] = std::max(trial[a] + length * s[a], 0.0);
        expected -= g[a] * s[a];
      }
      done = !(expected > 1e-15 * objective) || length < 1e-6 || objective < kExact;
      if (done) break;
      const double value = evaluate(trial, trial_residual_);
      if (value <= objective - 1e-4 * length * expected) {
        moved = true;
        amplitudes_.value = trial;
        residual_.swap(trial_residual_);
        objective = value;
        if (length == 1) caution = std::max(caution / 10, 1e-7);
      } else if (caution < 1) {
        caution = std::min(caution * 10, 1.0);
      } else {
        length /= 2;
      }
    }
    if (done) break;
  }
  evaluate(amplitudes_.value, residual_);  // what the gradient reads
  return objective;
}

/// By the exponents, at amplitudes that are best: those that move with them add nothing.
Exponents Projection::gradient() const {
  Exponents by{.alpha = 0, .beta = 0, .gamma = 0};
  for (size_t k = 0; k < x_.size(); ++k) {
    const double loss = amplitudes_.value[0] + power_[k];
    const double slope = weight_[k] * std::clamp(residual_[k], -delta_, delta_) / loss;
    const double by_sum = slope * exponents_.gamma * power_[k] / sum_[k];
    by.alpha -= by_sum * x_[k] * amplitudes_.value[1] * u_[k];
    by.beta -= by_sum * y_[k] * amplitudes_.value[2] * v_[k];
    by.gamma += slope * power_[k] * std::log(sum_[k]);
  }
  return by;
}

double Projection::solve(const Exponents& exponents, Exponents* by) {
  set_exponents(exponents);
  const double objective = descend();
  if (by) *by = gradient();
  return objective;
}

// ---- outside: the search over the exponents that a form leaves free ----

/// The exponents of a form as the variables of a search: (α), (α, β), (α, γ) or (α, β, γ).
struct Variables {
  const LawForm& form;

  std::vector<double> of(const Exponents& z) const {
    std::vector<double> x = {z.alpha};
    if (form.beta == LawForm::Beta::kFree) x.push_back(z.beta);
    if (form.fits_gamma) x.push_back(z.gamma);
    return x;
  }
  Exponents exponents(std::span<const double> x) const {
    Exponents z{.alpha = x[0], .beta = 0, .gamma = form.fits_gamma ? x.back() : 1};
    if (form.beta == LawForm::Beta::kFree) z.beta = x[1];
    if (form.beta == LawForm::Beta::kAsAlpha) z.beta = x[0];
    if (form.beta == LawForm::Beta::kOne) z.beta = 1;
    return z;
  }
  void gradient(const Exponents& by, std::span<double> g) const {
    g[0] = by.alpha + (form.beta == LawForm::Beta::kAsAlpha ? by.beta : 0);
    if (form.beta == LawForm::Beta::kFree) g[1] = by.beta;
    if (form.fits_gamma) g.back() = by.gamma;
  }
};

LawFit search(const LawForm& form, Projection& projection, const Exponents& start) {
  const Variables variables{form};
  std::vector<double> x = variables.of(start);
  BoundedProblem problem;
  problem.low.assign(x.size(), kExponentBounds.low);
  problem.high.assign(x.size(), kExponentBounds.high);
  if (form.fits_gamma) problem.low.back() = kExponentBounds.gamma_low, problem.high.back() = kExponentBounds.gamma_high;
  problem.function = [&](std::span<const double> at, std::span<double> gradient) {
    Exponents by;
    const double value = projection.solve(variables.exponents(at), &by);
    variables.gradient(by, gradient);
    return value;
  };
  problem.enough = kExact;
  minimize(problem, x);
  const Exponents best = variables.exponents(x);
  const double objective = projection.solve(best, nullptr);
  return {projection.law(best), objective};
}

/// Exponents to begin from: those of α·γ and β·γ that laws have, and a negative one.
std::vector<Exponents> grid(const LawForm& form) {
  const std::vector<double> effective = {-0.3, 0.06, 0.15, 0.25, 0.35, 0.5, 0.75, 1.1, 1.7};
  const std::vector<double> none = {0};
  std::vector<Exponents> starts;
  for (const double gamma : form.fits_gamma ? std::vector<double>{0.25, 0.5, 1, 2} : std::vector<double>{1})
    for (const double alpha : effective)
      for (const double beta : form.beta == LawForm::Beta::kFree ? effective : none)
        starts.push_back(Variables{form}.exponents(Variables{form}.of({alpha / gamma, beta / gamma, gamma})));
  return starts;
}

}  // namespace

Law LawPoints::uncentred(Law law) const {
  law.a *= std::exp(law.alpha * mean_ln_params);
  law.b *= std::exp(law.beta * mean_ln_tokens);
  return law;
}

Law LawPoints::centred(Law law) const {
  law.a *= std::exp(-law.alpha * mean_ln_params);
  law.b *= std::exp(-law.beta * mean_ln_tokens);
  return law;
}

LawPoints make_points(std::span<const double> params, std::span<const double> tokens, std::span<const double> loss) {
  LawPoints points;
  const auto count = static_cast<double>(loss.size());
  for (size_t i = 0; i < loss.size(); ++i) {
    points.ln_params.push_back(std::log(params[i]));
    points.ln_tokens.push_back(std::log(tokens[i]));
    points.ln_loss.push_back(std::log(loss[i]));
    points.mean_ln_params += points.ln_params[i] / count;
    points.mean_ln_tokens += points.ln_tokens[i] / count;
  }
  for (double& each : points.ln_params) each -= points.mean_ln_params;
  for (double& each : points.ln_tokens) each -= points.mean_ln_tokens;
  return points;
}

double huber(double residual, double delta) {
  const double size = std::abs(residual);
  return size <= delta ? size * size / 2 : delta * (size - delta / 2);
}

bool at_bound(const LawForm& form, const Law& law) {
  constexpr double kNear = 1e-6;
  const auto reached = [](double value, double low, double high) {
    return value < low + kNear || value > high - kNear;
  };
  return reached(law.alpha, kExponentBounds.low, kExponentBounds.high) ||
         (form.beta == LawForm::Beta::kFree && reached(law.beta, kExponentBounds.low, kExponentBounds.high)) ||
         (form.fits_gamma && reached(law.gamma, kExponentBounds.gamma_low, kExponentBounds.gamma_high));
}

SearchedFit fit_by_projection(const LawForm& form, const LawPoints& points, std::span<const double> weights,
                              double delta) {
  constexpr size_t kSearches = 8;
  Projection projection(form, points, weights, delta);
  std::vector<std::pair<double, Exponents>> starts;
  for (const Exponents& each : grid(form)) {
    projection.restart();
    starts.emplace_back(projection.solve(each, nullptr), each);
  }
  const size_t count = std::min(kSearches, starts.size());
  std::partial_sort(starts.begin(), starts.begin() + static_cast<std::ptrdiff_t>(count), starts.end(),
                    [](const auto& a, const auto& b) { return a.first < b.first; });
  SearchedFit best;
  std::vector<double> reached;
  for (size_t i = 0; i < count; ++i) {
    projection.restart();
    const LawFit found = search(form, projection, starts[i].second);
    reached.push_back(found.objective);
    if (i == 0 || found.objective < best.objective) static_cast<LawFit&>(best) = found;
  }
  best.starts = static_cast<int>(count);
  for (const double each : reached) best.starts_at_optimum += each <= best.objective * (1 + 1e-6) + 1e-18;
  return best;
}

LawFit refit_by_projection(const LawForm& form, const LawPoints& points, std::span<const double> weights, double delta,
                           const Law& start) {
  Projection projection(form, points, weights, delta);
  projection.start_from(start);
  return search(form, projection, {start.alpha, start.beta, start.gamma});
}

Conditions conditions(const LawForm& form, const LawPoints& points, const Law& law, double delta) {
  // Derivatives of ln L by ln E, ln A, ln B, then by the exponents at constant uncentred amplitudes.
  std::vector<std::vector<double>> rows;
  const size_t exponents = 1 + (form.beta == LawForm::Beta::kFree ? 1 : 0) + (form.fits_gamma ? 1 : 0);
  for (size_t i = 0; i < points.size(); ++i) {
    const double u = law.a * std::exp(-law.alpha * points.ln_params[i]);
    const double v = law.b * std::exp(-law.beta * points.ln_tokens[i]);
    const double power = std::pow(u + v, law.gamma), loss = law.e + power, by_sum = law.gamma * power / (u + v) / loss;
    const double size = std::abs(std::log(loss) - points.ln_loss[i]),
                 root = std::sqrt(size <= delta ? 1 : delta / size);
    const double ln_n = points.ln_params[i] + points.mean_ln_params, ln_d = points.ln_tokens[i] + points.mean_ln_tokens;
    const double by_beta = -by_sum * v * ln_d;
    std::vector<double> row;
    if (law.e > 0) row.push_back(root * law.e / loss);
    if (law.a > 0) row.push_back(root * by_sum * u);
    if (law.b > 0) row.push_back(root * by_sum * v);
    row.push_back(root * (-by_sum * u * ln_n + (form.beta == LawForm::Beta::kAsAlpha ? by_beta : 0)));
    if (form.beta == LawForm::Beta::kFree) row.push_back(root * by_beta);
    if (form.fits_gamma) row.push_back(root * power / loss * std::log(u + v));
    rows.push_back(row);
  }
  return {condition_of_squares(rows, 0), condition_of_squares(rows, rows.front().size() - exponents)};
}

}  // namespace retain
