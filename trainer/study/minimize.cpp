#include "trainer/study/minimize.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace retain {
namespace {

using Vector = std::vector<double>;

double dot(const Vector& a, const Vector& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

/// A point, its value and its gradient.
struct Place {
  Vector x, gradient;
  double value = 0;
};

class Search {
 public:
  Search(const BoundedProblem& problem, const Vector& x) : problem_(problem), at_{x, Vector(x.size()), 0} {
    evaluate(at_);
    forget();
  }

  double run(Vector& x) {
    constexpr int kMostSteps = 200, kMostFailures = 2;  // after a failure it goes down the gradient once more
    for (int i = 0, failures = 0; i < kMostSteps && failures < kMostFailures && at_.value > problem_.enough; ++i)
      if (!step()) ++failures, forget();
    x = at_.x;
    return at_.value;
  }

 private:
  void evaluate(Place& place) const { place.value = problem_.function(place.x, place.gradient); }

  /// Whether x[i] is at a bound that the gradient pushes against.
  bool held(size_t i) const {
    return (at_.x[i] <= problem_.low[i] && at_.gradient[i] > 0) ||
           (at_.x[i] >= problem_.high[i] && at_.gradient[i] < 0);
  }

  void forget() {
    const size_t n = at_.x.size();
    double norm = 0;
    for (const double g : at_.gradient) norm = std::max(norm, std::abs(g));
    inverse_.assign(n, Vector(n, 0));
    for (size_t i = 0; i < n; ++i) inverse_[i][i] = norm > 0 ? problem_.first_step / norm : 1;
    fresh_ = true;
  }

  Vector direction() const {
    const size_t n = at_.x.size();
    Vector d(n, 0);
    for (size_t i = 0; i < n; ++i)
      for (size_t j = 0; j < n; ++j)
        if (!held(i) && !held(j)) d[i] -= inverse_[i][j] * at_.gradient[j];
    return d;
  }

  Place moved(const Vector& d, double t) const {
    Place place = at_;
    for (size_t i = 0; i < d.size(); ++i)
      place.x[i] = std::clamp(at_.x[i] + t * d[i], problem_.low[i], problem_.high[i]);
    evaluate(place);
    return place;
  }

  bool step() {
    const Vector d = direction();
    const double slope = dot(d, at_.gradient);
    Place next;
    if (!(slope < 0) || !search_line(d, slope, next)) return false;
    constexpr double kLeastGain = 1e-11;
    const double gain = at_.value - next.value, next_value = next.value;
    learn(next);
    at_ = std::move(next);
    return gain > kLeastGain * std::abs(next_value);
  }

  /// Weak Wolfe by bisection; a point that is only lower will do when the interval has shrunk to nothing.
  bool search_line(const Vector& d, double slope, Place& next) const {
    constexpr int kMostTrials = 40;
    double low = 0, high = std::numeric_limits<double>::infinity(), t = 1;
    bool found = false;
    for (int i = 0; i < kMostTrials; ++i) {
      Place trial = moved(d, t);
      if (!(trial.value <= at_.value + 1e-4 * t * slope)) {
        high = t;
      } else {
        const bool flat = dot(d, trial.gradient) >= 0.9 * slope;
        const bool stuck = found && trial.value >= next.value;  // against a bound
        low = t;
        if (!stuck) next = std::move(trial);
        found = true;
        if (flat || stuck) break;
      }
      t = std::isinf(high) ? 2 * low : (low + high) / 2;
    }
    return found;
  }

  /// The update of BFGS for the inverse of the second derivatives.
  void learn(const Place& next) {
    const size_t n = next.x.size();
    Vector s(n), y(n);
    for (size_t i = 0; i < n; ++i) s[i] = next.x[i] - at_.x[i], y[i] = next.gradient[i] - at_.gradient[i];
    const double curvature = dot(s, y);
    if (!(curvature > 0)) return;
    if (fresh_)
      for (size_t i = 0; i < n; ++i) inverse_[i][i] = curvature / dot(y, y);
    fresh_ = false;
    Vector hy(n, 0);
    for (size_t i = 0; i < n; ++i) hy[i] = dot(inverse_[i], y);
    const double factor = (1 + dot(y, hy) / curvature) / curvature;
    for (size_t i = 0; i < n; ++i)
      for (size_t j = 0; j < n; ++j) inverse_[i][j] += factor * s[i] * s[j] - (hy[i] * s[j] + s[i] * hy[j]) / curvature;
  }

  const BoundedProblem& problem_;
  Place at_;
  std::vector<Vector> inverse_;
  bool fresh_ = true;  // nothing is known of the second derivatives
};

}  // namespace

double minimize(const BoundedProblem& problem, std::vector<double>& x) { return Search(problem, x).run(x); }

}  // namespace retain
