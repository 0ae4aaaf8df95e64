#include "trainer/study/warnings.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <string>

namespace retain {
namespace {

constexpr double kDecade = 10;

/// Collects them.
class Warnings {
 public:
  template <class... Args>
  void add(const std::string& name, fmt::format_string<Args...> format, Args&&... args) {
    found_.push_back({name, fmt::format(format, std::forward<Args>(args)...)});
  }
  std::vector<StudyWarning> take() { return std::move(found_); }

 private:
  std::vector<StudyWarning> found_;
};

/// "a, b, c and 4 more".
std::string list(const std::vector<std::string>& names) {
  constexpr size_t kShown = 6;
  std::string text;
  for (size_t i = 0; i < std::min(names.size(), kShown); ++i) text += (i ? ", " : "") + names[i];
  if (names.size() > kShown) text += fmt::format(" and {} more", names.size() - kShown);
  return text;
}

std::vector<std::string> excluded_as(const RunsTable& table, ExcludedRow::Why why) {
  std::vector<std::string> ids;
  for (const ExcludedRow& row : table.excluded)
    if (row.why == why) ids.push_back(row.id);
  return ids;
}

// ---- the table ----

void look_at_rows(const StudyFit& study, Warnings& w) {
  const auto diverged = excluded_as(study.table, ExcludedRow::Why::kDiverged);
  if (!diverged.empty())
    w.add("diverged-runs",
          "{} of {} runs diverged and are not fitted ({}); a law of the survivors says nothing of them",
          diverged.size(), diverged.size() + study.table.runs.size(), list(diverged));
  const auto unusable = excluded_as(study.table, ExcludedRow::Why::kNoLoss);
  if (!unusable.empty())
    w.add("unusable-rows", "{} rows have no finite positive loss and are not fitted ({})", unusable.size(),
          list(unusable));
}

void look_at_outliers(const StudyFit& study, Warnings& w) {
  constexpr double kFar = 5, kLeast = 1e-4;
  const double limit = kFar * std::max(study.residual_sigma, kLeast);
  std::vector<std::string> far;
  for (size_t i = 0; i < study.residuals.size(); ++i)
    if (std::abs(study.residuals[i]) > limit)
      far.push_back(fmt::format("{} by {:+.2g} %", study.table.runs[i].id, 100 * std::expm1(study.residuals[i])));
  if (!far.empty())
    w.add("outliers",
          "{} runs lie further from the law than 5 sigma = {:.2g} % ({}); look at them, and leave out with --only "
          "what went wrong",
          far.size(), 100 * limit, list(far));
}

void look_at_cells(const StudyFit& study, Warnings& w) {
  std::map<std::string, std::vector<std::string>> cells;
  std::map<std::string, int> schedules;
  for (const StudyRun& run : study.table.runs) {
    cells[fmt::format("{:.6e} {:.6e} {}", run.params, run.tokens, run.seed)].push_back(run.id);
    ++schedules[run.schedule];
  }
  std::vector<std::string> twice;
  for (const auto& [cell, ids] : cells)
    if (ids.size() > 1) twice.push_back(list(ids));
  if (!twice.empty())
    w.add("duplicate-cells",
          "{} cells stand more than once with equal N, D and seed ({}); each repeat counts as a run of its own",
          twice.size(), list({twice.front()}));
  if (schedules.size() > 1) {
    std::vector<std::string> named;
    for (const auto& [schedule, count] : schedules)
      named.push_back(fmt::format("{} runs of {}", count, schedule.empty() ? "none" : schedule));
    w.add("mixed-schedules",
          "the runs have {} schedules ({}); a loss is that of D tokens only where the decay ended there: "
          "fit one with --only 'schedule=…'",
          schedules.size(), list(named));
  }
}

struct Range {
  double low = 1e300, high = 0;
  void take(double value) { low = std::min(low, value), high = std::max(high, value); }
  double ratio() const { return high / low; }
};

void look_at_ranges(const StudyFit& study, Warnings& w) {
  Range params, flops, ratio;
  for (const StudyRun& run : study.table.runs) {
    params.take(run.params);
    flops.take(run.flops);
    ratio.take(run.tokens_per_param());
  }
  const size_t constants = static_cast<size_t>(study.best().form->free_constants());
  if (study.table.runs.size() < 3 * constants)
    w.add("few-runs", "{} runs for {} constants; intervals from resampled runs are rough below {}",
          study.table.runs.size(), constants, 3 * constants);
  if (params.ratio() < kDecade)
    w.add("narrow-params", "sizes span a factor of {:.2g}; an exponent of N takes a decade", params.ratio());
  if (flops.ratio() < kDecade)
    w.add("narrow-compute",
          "budgets span a factor of {:.2g} in C; an exponent of C takes a decade, and a prediction ten times beyond "
          "it more",
          flops.ratio());
  if (ratio.ratio() < kDecade)
    w.add("narrow-ratio", "D/N spans a factor of {:.2g}; within a decade the terms of N and D are hard to tell apart",
          ratio.ratio());
}

void look_at_budgets(const StudyFit& study, Warnings& w) {
  constexpr double kSpan = 4;
  std::vector<std::string> none, edge, narrow;
  for (size_t i = 0; i < study.budgets.size(); ++i) {
    const std::string name = fmt::format("{:.3g}", std::exp(study.budgets[i].ln_flops));
    const std::optional<Parabola>& p = study.parabolas[i];
    if (!p || !p->has_minimum()) {
      none.push_back(name);
    } else if (!p->inside()) {
      edge.push_back(name);
    } else if (p->minimum.ln_params - p->least_ln_params < std::log(kSpan) * 0.9 ||
               p->most_ln_params - p->minimum.ln_params < std::log(kSpan) * 0.9) {
      narrow.push_back(name);
    }
  }
  if (!none.empty())
    w.add("no-minimum", "in budgets {} the losses bend downwards: no minimum in N; they do not count in approach 2",
          list(none));
  if (!edge.empty())
    w.add("minimum-at-edge",
          "in budgets {} the minimum lies beyond the smallest or largest model; they do not count in approach 2: "
          "add sizes there",
          list(edge));
  if (!narrow.empty())
    w.add("narrow-budget",
          "in budgets {} the sizes span less than x4 on a side of the minimum; parabolas there are biased",
          list(narrow));
}

// ---- the fit ----

/// What N, and D, change of the law's loss over the runs, the other one at its middle.
void look_at_effects(const StudyFit& study, Warnings& w) {
  constexpr double kLeast = 1e-4;
  std::vector<double> params, tokens;
  for (const StudyRun& run : study.table.runs) {
    params.push_back(run.params);
    tokens.push_back(run.tokens);
  }
  const auto [least_params, most_params] = std::minmax_element(params.begin(), params.end());
  const auto [least_tokens, most_tokens] = std::minmax_element(tokens.begin(), tokens.end());
  const Law& law = study.best().law;
  const double middle_params = median(params), middle_tokens = median(tokens);
  const double by_params = std::log(law.loss(*least_params, middle_tokens) / law.loss(*most_params, middle_tokens));
  const double by_tokens = std::log(law.loss(middle_params, *least_tokens) / law.loss(middle_params, *most_tokens));
  for (const auto& [name, effect] : {std::pair("N", by_params), std::pair("D", by_tokens)})
    if (std::abs(effect) < std::max(study.residual_sigma, kLeast))
      w.add("no-effect",
            "over all runs {} changes the loss by {:.2g} %, no more than its scatter: its exponent means nothing", name,
            100 * std::abs(effect));
}

void look_at_exponents(const StudyFit& study, Warnings& w) {
  const FormFit& best = study.best();
  if (best.law.alpha < 0 || best.law.beta < 0)
    w.add("negative-exponent",
          "alpha {:.4g}, beta {:.4g}: a loss that grows with N or D is no law of scaling; look at the runs",
          best.law.alpha, best.law.beta);
  if (at_bound(*best.form, best.law))
    w.add("exponent-at-bound",
          "an exponent is at a bound of the search (alpha {:.4g}, beta {:.4g}, gamma {:.4g}): the runs do not hold it",
          best.law.alpha, best.law.beta, best.law.gamma);
  look_at_effects(study, w);
}

void look_at_e(const StudyFit& study, Warnings& w) {
  const FormFit& best = study.best();
  if (!best.form->fits_e) return;
  double least = 1e300;
  for (const StudyRun& run : study.table.runs) least = std::min(least, run.loss);
  constexpr double kZero = 1e-6;
  const double low = study.intervals.empty() ? best.law.e : study.intervals[0].p025;
  const double high = study.intervals.empty() ? best.law.e : study.intervals[0].p975;
  if (low <= kZero * least || high > least)
    w.add("e-not-identified",
          "E is {:.4g}, in [{:.4g}, {:.4g}] with 95 %, which reaches {}: the irreducible loss is not known from these "
          "runs",
          best.law.e, low, high, low <= kZero * least ? "0" : fmt::format("beyond the least loss {:.4g}", least));
}

void look_at_solvers(const StudyFit& study, Warnings& w) {
  constexpr double kAgreement = 1e-6, kFewestStarts = 0.05;
  const FormFit& best = study.best();
  const SearchedFit& searched = best.multistart ? *best.multistart : best.projection;
  const double share = static_cast<double>(searched.starts_at_optimum) / searched.starts;
  if (share < kFewestStarts || (best.multistart && searched.starts_at_optimum < 3 && searched.starts >= 60))
    w.add("few-starts", "{} of {} starts reached the best objective; there may be a better one: raise --starts",
          searched.starts_at_optimum, searched.starts);
  if (best.disagreement() > kAgreement)
    w.add("solvers-disagree",
          "variable projection reached {:.10g} and Levenberg-Marquardt {:.10g}; the lower one counts",
          best.projection.objective, best.multistart->objective);
  if (!best.multistart)
    w.add("one-solver",
          "this build has no Ceres, so variable projection stands alone; with libceres-dev a second solver checks it");
}

void look_at_influences(const StudyFit& study, Warnings& w) {
  for (const Influence& i : study.influences)
    w.add("leave-one-out", "without {} {} moves by {:+.3g}, more than its error {:.2g}", i.run, i.constant, i.moved,
          i.se);
}

void look_at_checks(const StudyFit& study, Warnings& w) {
  if (study.holdout.empty())
    w.add(
        "no-holdout",
        "no runs could be held out (the rest must be at least 8, of three sizes), so no form is checked by prediction");
  if (study.redrawn > 0)
    w.add("resamples-redrawn",
          "{} resamples had fewer than 7 different runs and were drawn anew: intervals are too narrow", study.redrawn);
}

}  // namespace

std::vector<StudyWarning> find_warnings(const StudyFit& study) {
  Warnings w;
  for (const auto look : {look_at_rows, look_at_outliers, look_at_cells, look_at_ranges, look_at_budgets,
                          look_at_exponents, look_at_e, look_at_solvers, look_at_influences, look_at_checks})
    look(study, w);
  return w.take();
}

}  // namespace retain
