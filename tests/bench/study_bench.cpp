// How long the intervals of a fit take: 4,000 resamples of 240 runs by every form, on two threads.
//   cmake --build build/cpu --target study_bench && build/cpu/bin/study_bench
#include <fmt/core.h>

#include <chrono>

#include "tests/trainer/study/synthetic.h"
#include "trainer/study/parallel_for.h"
#include "trainer/study/projection.h"
#include "trainer/study/statistics.h"

namespace retain {
namespace {

constexpr double kDelta = 1e-3;
constexpr int kResamples = 4000, kThreads = 2;

void measure(const LawForm& form) {
  test::Synthetic synthetic;
  synthetic.budgets = {1e18, 2e18, 5e18, 1e19, 2e19, 5e19, 1e20, 2e20, 5e20, 1e21};
  synthetic.factors.clear();
  for (int i = 0; i < 24; ++i) synthetic.factors.push_back(std::pow(10, -1 + i / 11.5));
  synthetic.noise = 0.005;
  synthetic.outliers = 0.04;
  std::vector<double> params, tokens, loss;
  for (const StudyRun& run : test::make_table(synthetic).runs) {
    params.push_back(run.params);
    tokens.push_back(run.tokens);
    loss.push_back(run.loss);
  }
  const LawPoints points = make_points(params, tokens, loss);
  const SearchedFit fit = fit_by_projection(form, points, std::vector<double>(points.size(), 1.0), kDelta);
  const auto begin = std::chrono::steady_clock::now();
  parallel_for(kThreads, kResamples,
               [&](int i) { refit_by_projection(form, points, resample(points.size(), 1, i), kDelta, fit.law); });
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  fmt::print("{:<18} {} resamples of {} runs on {} threads: {:.2f} s\n", form.name, kResamples, points.size(), kThreads,
             seconds);
}

}  // namespace
}  // namespace retain

int main() {
  for (const retain::LawForm& form : retain::law_forms())
    if (form.beta != retain::LawForm::Beta::kNoData) retain::measure(form);
}
