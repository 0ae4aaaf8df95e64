// A minimizer of functions of up to three variables within bounds: BFGS with a line search to the weak Wolfe
// conditions by bisection, which takes kinks in the derivative too (Lewis and Overton 2013).
#pragma once

#include <array>
#include <functional>
#include <span>
#include <vector>

namespace retain {

struct BoundedProblem {
  /// Value at x, and its gradient.
  std::function<double(std::span<const double> x, std::span<double> gradient)> function;
  std::vector<double> low, high;
  double first_step = 0.05;  ///< length of the first step, about
  double enough = 0;         ///< a value that need not become less
};

/// Moves x to a minimum near it and returns the value there.
double minimize(const BoundedProblem& problem, std::vector<double>& x);

}  // namespace retain
