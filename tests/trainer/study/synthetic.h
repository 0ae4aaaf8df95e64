// Tables of runs made from a law, for tests of fits.
#pragma once

#include <fmt/core.h>

#include <cmath>
#include <string>
#include <vector>

#include "kernels/core/random.h"
#include "trainer/study/law.h"
#include "trainer/study/runs_table.h"

namespace retain::test {

/// What the constants of published laws look like.
inline Law usual_law() { return {1.7, 400, 1500, 0.34, 0.37, 1}; }
/// One whose outer exponent is not 1.
inline Law bent_law() { return {1.5, 6e4, 2e6, 0.7, 0.8, 0.5}; }

struct Synthetic {
  Law law = usual_law();
  std::vector<double> budgets = {1e18, 3e18, 1e19, 3e19, 1e20, 3e20};
  /// Sizes of each budget, by factors of the best one there.
  std::vector<double> factors = {0.15, 0.25, 0.4, 0.65, 1, 1.5, 2.5, 4, 6.5};
  double noise = 0;     ///< standard deviation of ln loss
  double outliers = 0;  ///< share of the runs whose loss is 2 to 10 % too large
  uint64_t seed = 1;
};

inline StudyRun make_run(const std::string& id, double params, double tokens, double loss) {
  StudyRun run;
  run.id = id;
  run.params = params;
  run.tokens = tokens;
  run.flops = 6 * params * tokens;
  run.loss = loss;
  run.counted[0] = params;
  return run;
}

inline RunsTable make_table(const Synthetic& s) {
  RunsTable table;
  table.path = "synthetic.csv";
  uint64_t draw = 0;
  const auto uniform = [&] { return static_cast<double>(philox_bits(s.seed, draw++) >> 11) * 0x1p-53; };
  for (const double budget : s.budgets) {
    for (const double factor : s.factors) {
      const double params = s.law.optimal_params(budget) * factor, tokens = budget / (6 * params);
      double ln_loss = std::log(s.law.loss(params, tokens)) + s.noise * philox_normal(s.seed + 1000, draw);
      if (uniform() < s.outliers) ln_loss += 0.02 + 0.08 * uniform();
      table.runs.push_back(make_run(fmt::format("run{}", table.runs.size()), params, tokens, std::exp(ln_loss)));
    }
  }
  return table;
}

}  // namespace retain::test
