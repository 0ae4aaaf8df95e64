#include "trainer/study/fit.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <set>

#include "kernels/core/error.h"
#include "kernels/core/random.h"
#include "trainer/study/multistart.h"
#include "trainer/study/parallel_for.h"
#include "trainer/study/warnings.h"

namespace retain {
namespace {

constexpr size_t kFewestRuns = 8, kFewestLevels = 3;
/// A resample needs more different runs than the largest law has constants.
constexpr int kFewestInResample = 7;

std::vector<double> ones(size_t n) { return std::vector<double>(n, 1.0); }

size_t count_levels(const std::vector<double>& logarithms) {
  std::set<int64_t> levels;
  for (const double each : logarithms) levels.insert(std::llround(each * 1e3));
  return levels.size();
}

LawPoints law_points(const std::vector<StudyRun>& runs, Counting counting) {
  std::vector<double> params, tokens, loss;
  for (const StudyRun& run : runs) {
    params.push_back(*run.counted[static_cast<size_t>(counting)]);
    tokens.push_back(run.tokens);
    loss.push_back(run.loss);
  }
  return make_points(params, tokens, loss);
}

void refuse_few(const RunsTable& table) {
  const auto refuse = [&](const std::string& problem) {
    std::string excluded;
    if (!table.excluded.empty())
      excluded = fmt::format(" ({} rows are excluded, the first of them {}: {})", table.excluded.size(),
                             table.excluded.front().id, table.excluded.front().reason);
    throw Error(ErrorKind::kData, fmt::format("{}: {}{}", table.path, problem, excluded));
  };
  if (table.runs.size() < kFewestRuns)
    refuse(fmt::format("{} runs with a loss, and a law of five constants takes at least {}", table.runs.size(),
                       kFewestRuns));
  const RunPoints points = run_points(table.runs);
  if (count_levels(points.ln_params) < kFewestLevels)
    refuse(fmt::format("{} sizes of model; with fewer than {} the exponent of N cannot be told from E",
                       count_levels(points.ln_params), kFewestLevels));
  if (count_levels(points.ln_tokens) < kFewestLevels)
    refuse(fmt::format("{} numbers of tokens; with fewer than {} the exponent of D cannot be told from E",
                       count_levels(points.ln_tokens), kFewestLevels));
}

// ---- forms ----

/// Without a condition given, the runs of the largest budget and at least the tenth of all with most compute; nothing
/// where the rest would be too few.
std::string mark_held_out(RunsTable& table, const std::string& given) {
  std::string words = given;
  if (given.empty()) {
    constexpr double kSameBudget = 1.2;
    std::vector<double> flops;
    for (const StudyRun& run : table.runs) flops.push_back(run.flops);
    std::sort(flops.begin(), flops.end(), std::greater<>());
    const double least = std::min(flops.front() / kSameBudget, flops[flops.size() / 10]);
    for (StudyRun& run : table.runs) run.held_out = run.flops >= least;
    words = fmt::format("the runs of most compute, C >= {:.4g}", least);
  }
  std::vector<StudyRun> rest;
  for (const StudyRun& run : table.runs)
    if (!run.held_out) rest.push_back(run);
  const bool none = rest.size() == table.runs.size();
  const RunPoints points = run_points(rest);
  const bool few = rest.size() < kFewestRuns || count_levels(points.ln_params) < kFewestLevels ||
                   count_levels(points.ln_tokens) < kFewestLevels;
  if (!none && !few) return words;
  for (StudyRun& run : table.runs) run.held_out = false;
  return "";
}

HeldOutError held_out_error(const LawForm& form, const std::vector<StudyRun>& runs, double delta) {
  std::vector<StudyRun> rest;
  for (const StudyRun& run : runs)
    if (!run.held_out) rest.push_back(run);
  const LawPoints points = law_points(rest, Counting::kAll);
  const Law law = points.uncentred(fit_by_projection(form, points, ones(rest.size()), delta).law);
  HeldOutError result;
  double square = 0;
  for (const StudyRun& run : runs) {
    if (!run.held_out) continue;
    result.errors.push_back(std::log(law.loss(run.params, run.tokens) / run.loss));
    square += result.errors.back() * result.errors.back();
    result.mean += result.errors.back();
  }
  result.runs = static_cast<int>(result.errors.size());
  result.rms = std::sqrt(square / result.runs);
  result.mean /= result.runs;
  return result;
}

FormFit fit_form(const LawForm& form, const StudyFit& study, const LawPoints& points) {
  const FitSettings& o = study.settings;
  FormFit fit;
  fit.form = &form;
  fit.projection = fit_by_projection(form, points, ones(points.size()), o.delta);
  fit.multistart = fit_by_multistart(form, points, o.delta, o.starts, o.seed, o.threads);
  LawFit best = fit.projection;
  if (fit.multistart && fit.multistart->objective < best.objective * (1 - 1e-6)) best = *fit.multistart;
  fit.objective = best.objective;
  fit.condition = conditions(form, points, best.law, o.delta);
  fit.law = points.uncentred(best.law);
  if (!study.holdout.empty()) fit.held_out = held_out_error(form, study.table.runs, o.delta);
  return fit;
}

/// The simpler of the two main forms, unless the outer exponent lessens the held-out error by more than twice the error
/// of that difference.
void choose_form(StudyFit& study) {
  const auto place = [&](const std::string& name) {
    size_t i = 0;
    while (name != study.forms[i].form->name) ++i;
    return i;
  };
  if (study.settings.form != "auto") {
    study.chosen = place(study.settings.form);
    study.reason = "asked for";
    return;
  }
  const size_t plain = place("chinchilla"), outer = place("chinchilla-gamma");
  study.chosen = plain;
  if (!study.forms[plain].held_out) {
    study.reason = "no runs could be held out, so the form with fewer constants";
    return;
  }
  const HeldOutError &p = *study.forms[plain].held_out, &g = *study.forms[outer].held_out;
  double gain = 0, square = 0;
  const auto count = static_cast<double>(p.runs);
  for (size_t i = 0; i < p.errors.size(); ++i) gain += (std::abs(p.errors[i]) - std::abs(g.errors[i])) / count;
  for (size_t i = 0; i < p.errors.size(); ++i)
    square += std::pow(std::abs(p.errors[i]) - std::abs(g.errors[i]) - gain, 2);
  const double se = p.runs > 1 ? std::sqrt(square / (count - 1) / count) : std::abs(gain);
  if (gain > 2 * se) study.chosen = outer;
  study.reason =
      fmt::format("the outer exponent changes the mean held-out error of ln loss by {:+.2g} ± {:.1g} on {} runs", -gain,
                  se, p.runs);
}

// ---- exponents ----

using Approach = std::optional<Frontier> (*)(const RunPoints&, const std::vector<Budget>&, std::span<const double>);

std::optional<Frontier> by_envelope(const RunPoints& points, const std::vector<Budget>&,
                                    std::span<const double> weights) {
  return envelope_frontier(points, weights);
}

/// What an approach gives for the measured losses, and for those of the law.
std::optional<ExponentEstimate> estimate(Approach approach, const RunPoints& points, const std::vector<Budget>& budgets,
                                         const Law& law) {
  const std::vector<double> all = ones(points.size());
  const std::optional<Frontier> measured = approach(points, budgets, all);
  if (!measured) return std::nullopt;
  const std::optional<Frontier> on_law = approach(on_surface(points, law), budgets, all);
  ExponentEstimate e;
  e.a = measured->params.slope;
  e.b = measured->tokens.slope;
  e.predicted_bias = on_law ? on_law->params.slope - law.params_exponent() : std::nan("");
  return e;
}

// ---- resamples ----

/// Everything that is estimated anew from one resample of the runs.
struct Resampled {
  Law law;
  std::optional<Frontier> isoflop, envelope;
  std::vector<Law> countings;
  std::vector<std::optional<Frontier>> counted_isoflop;
  int redrawn = 0;
};

/// What a counting of parameters sees of the runs, and the law that resamples begin from.
struct CountedPoints {
  LawPoints law_points;
  RunPoints points;
  std::vector<Budget> budgets;
  Law start;  // centred
};

std::vector<double> draw(size_t n, uint64_t key, int index, int resamples, int& redrawn) {
  constexpr int kMostDraws = 100;
  std::vector<double> weights;
  for (redrawn = 0; redrawn < kMostDraws; ++redrawn) {
    weights = resample(n, key, index + redrawn * resamples);
    if (std::count_if(weights.begin(), weights.end(), [](double w) { return w > 0; }) >= kFewestInResample) break;
  }
  return weights;
}

std::vector<Resampled> draw_resamples(const LawForm& form, const StudyFit& study,
                                      const std::vector<CountedPoints>& counted) {
  const FitSettings& o = study.settings;
  const uint64_t key = stream_key(o.seed, "study resamples");
  std::vector<Resampled> all(static_cast<size_t>(o.resamples));
  parallel_for(o.threads, o.resamples, [&](int index) {
    Resampled& r = all[static_cast<size_t>(index)];
    const std::vector<double> weights = draw(study.table.runs.size(), key, index, o.resamples, r.redrawn);
    for (const CountedPoints& c : counted) {
      r.countings.push_back(
          c.law_points.uncentred(refit_by_projection(form, c.law_points, weights, o.delta, c.start).law));
      r.counted_isoflop.push_back(isoflop_frontier(c.points, c.budgets, weights));
    }
    r.law = r.countings.front();
    r.isoflop = r.counted_isoflop.front();
    r.envelope = envelope_frontier(counted.front().points, weights);
  });
  return all;
}

template <class F>
std::optional<Interval> interval_over(const std::vector<Resampled>& all, const F& value) {
  std::vector<double> values;
  for (const Resampled& r : all)
    if (const std::optional<double> v = value(r)) values.push_back(*v);
  if (values.empty()) return std::nullopt;
  return interval_of(std::move(values));
}

template <class F>
void set_intervals(ExponentEstimate& e, const std::vector<Resampled>& all, const F& frontier) {
  e.a_interval = interval_over(all, [&](const Resampled& r) -> std::optional<double> {
    const std::optional<Frontier>& f = frontier(r);
    return f ? std::optional(f->params.slope) : std::nullopt;
  });
  e.b_interval = interval_over(all, [&](const Resampled& r) -> std::optional<double> {
    const std::optional<Frontier>& f = frontier(r);
    return f ? std::optional(f->tokens.slope) : std::nullopt;
  });
}

template <class F>
void set_law_intervals(ExponentEstimate& e, const std::vector<Resampled>& all, const F& law) {
  e.a_interval = interval_over(all, [&](const Resampled& r) { return std::optional(law(r).params_exponent()); });
  e.b_interval = interval_over(all, [&](const Resampled& r) { return std::optional(law(r).tokens_exponent()); });
}

void take_intervals(StudyFit& study, const std::vector<Resampled>& all) {
  for (const Resampled& r : all) {
    study.resamples.push_back(r.law);
    study.redrawn += r.redrawn;
  }
  for (size_t i = 0; i < Law::kConstants; ++i)
    study.intervals.push_back(
        *interval_over(all, [&](const Resampled& r) { return std::optional(r.law.constants()[i]); }));
  set_law_intervals(study.parametric, all, [](const Resampled& r) { return r.law; });
  if (study.isoflop)
    set_intervals(
        *study.isoflop, all, [](const Resampled& r) -> const auto& { return r.isoflop; });
  if (study.envelope)
    set_intervals(
        *study.envelope, all, [](const Resampled& r) -> const auto& { return r.envelope; });
  for (size_t i = 0; i < study.countings.size(); ++i) {
    set_law_intervals(study.countings[i].parametric, all, [i](const Resampled& r) { return r.countings[i]; });
    if (study.countings[i].isoflop)
      set_intervals(
          *study.countings[i].isoflop, all, [i](const Resampled& r) -> const auto& { return r.counted_isoflop[i]; });
  }
}

// ---- residuals ----

void find_residuals(StudyFit& study) {
  for (const StudyRun& run : study.table.runs)
    study.residuals.push_back(std::log(run.loss / study.best().law.loss(run.params, run.tokens)));
  study.residual_sigma = robust_sigma(study.residuals, study.best().form->free_constants());
}

/// Between runs of one size and number of tokens that have different seeds.
std::optional<double> find_seed_sigma(const std::vector<StudyRun>& runs) {
  std::map<std::pair<double, double>, std::map<std::string, double>> cells;
  for (const StudyRun& run : runs)
    if (!run.seed.empty()) cells[{run.params, run.tokens}][run.seed] = std::log(run.loss);
  double square = 0, freedom = 0;
  for (const auto& [cell, seeds] : cells) {
    double mean = 0;
    for (const auto& [seed, ln_loss] : seeds) mean += ln_loss / static_cast<double>(seeds.size());
    for (const auto& [seed, ln_loss] : seeds) square += (ln_loss - mean) * (ln_loss - mean);
    freedom += static_cast<double>(seeds.size()) - 1;
  }
  if (freedom < 1) return std::nullopt;
  return std::sqrt(square / freedom);
}

/// Of each constant the run whose absence moves it most, where that is beyond its error.
void find_influences(StudyFit& study, const LawPoints& points, const Law& centred) {
  if (study.intervals.empty()) return;
  const size_t n = points.size();
  std::vector<Law> without(n);
  parallel_for(study.settings.threads, static_cast<int>(n), [&](int i) {
    std::vector<double> weights = ones(n);
    weights[static_cast<size_t>(i)] = 0;
    without[static_cast<size_t>(i)] =
        points.uncentred(refit_by_projection(*study.best().form, points, weights, study.settings.delta, centred).law);
  });
  const auto all = study.best().law.constants();
  for (size_t c = 0; c < Law::kConstants; ++c) {
    Influence worst{.run = "", .constant = Law::names()[c], .moved = 0, .se = study.intervals[c].se};
    for (size_t i = 0; i < n; ++i) {
      const double moved = without[i].constants()[c] - all[c];
      if (std::abs(moved) > std::abs(worst.moved)) worst.moved = moved, worst.run = study.table.runs[i].id;
    }
    // A law that fits to the last digit has no errors to speak of.
    if (std::abs(worst.moved) > worst.se && std::abs(worst.moved) > 1e-6 * std::abs(all[c]))
      study.influences.push_back(worst);
  }
}

// ---- ways of counting ----

std::vector<Counting> countings_of(const std::vector<StudyRun>& runs) {
  std::vector<Counting> found;
  for (int i = 0; i < kCountings; ++i) {
    const auto has = [i](const StudyRun& run) { return run.counted[static_cast<size_t>(i)].has_value(); };
    if (std::all_of(runs.begin(), runs.end(), has)) found.push_back(static_cast<Counting>(i));
  }
  return found;
}

std::vector<CountedPoints> fit_countings(StudyFit& study, const Law& centred) {
  std::vector<CountedPoints> all;
  const LawForm& form = *study.best().form;
  for (const Counting counting : countings_of(study.table.runs)) {
    CountedPoints c{law_points(study.table.runs, counting), run_points(study.table.runs, counting), {}, centred};
    c.budgets = find_budgets(c.points.ln_flops, c.points.ln_params);
    CountingFit fit{.counting = counting, .law = study.best().law, .parametric = {}, .isoflop = {}};
    if (counting != Counting::kAll) {
      c.start = fit_by_projection(form, c.law_points, ones(c.points.size()), study.settings.delta).law;
      fit.law = c.law_points.uncentred(c.start);
    }
    fit.parametric.a = fit.law.params_exponent();
    fit.parametric.b = fit.law.tokens_exponent();
    fit.isoflop = estimate(isoflop_frontier, c.points, c.budgets, fit.law);
    study.countings.push_back(fit);
    all.push_back(std::move(c));
  }
  return all;
}

void fit_envelope_law(StudyFit& study, const RunPoints& points) {
  std::vector<double> flops, loss;
  for (const size_t i : envelope(points, ones(points.size())))
    flops.push_back(std::exp(points.ln_flops[i])), loss.push_back(points.loss[i]);
  const LawForm& form = find_form("power-C");
  if (static_cast<int>(loss.size()) <= form.free_constants()) return;
  const LawPoints of_envelope = make_points(flops, flops, loss);
  study.envelope_law =
      of_envelope.uncentred(fit_by_projection(form, of_envelope, ones(loss.size()), study.settings.delta).law);
}

}  // namespace

double FormFit::disagreement() const {
  if (!multistart) return 0;
  // Where the fit is exact to rounding, neither solver is wrong.
  constexpr double kRounding = 1e-15;
  const double least = std::min(projection.objective, multistart->objective);
  return (std::max(projection.objective, multistart->objective) - least) / std::max(least, kRounding);
}

RunPoints run_points(const std::vector<StudyRun>& runs, Counting counting) {
  RunPoints points;
  for (const StudyRun& run : runs) {
    points.ln_params.push_back(std::log(*run.counted[static_cast<size_t>(counting)]));
    points.ln_tokens.push_back(std::log(run.tokens));
    points.ln_flops.push_back(std::log(run.flops));
    points.loss.push_back(run.loss);
  }
  return points;
}

RunPoints on_surface(const RunPoints& points, const Law& law) {
  RunPoints surface = points;
  for (size_t i = 0; i < points.size(); ++i)
    surface.loss[i] = law.loss(std::exp(points.ln_params[i]), std::exp(points.ln_tokens[i]));
  return surface;
}

StudyFit fit_study(RunsTable table, const std::string& holdout, const FitSettings& settings) {
  refuse_few(table);
  StudyFit study;
  study.settings = settings;
  study.holdout = mark_held_out(table, holdout);
  study.table = std::move(table);
  const LawPoints points = law_points(study.table.runs, Counting::kAll);
  for (const LawForm& form : law_forms())
    if (form.beta != LawForm::Beta::kNoData) study.forms.push_back(fit_form(form, study, points));
  choose_form(study);
  find_residuals(study);
  study.seed_sigma = find_seed_sigma(study.table.runs);

  const Law &law = study.best().law, centred = points.centred(law);
  const RunPoints runs = run_points(study.table.runs);
  study.parametric = {
      .a = law.params_exponent(), .b = law.tokens_exponent(), .predicted_bias = 0, .a_interval = {}, .b_interval = {}};
  study.budgets = find_budgets(runs.ln_flops, runs.ln_params);
  for (const Budget& budget : study.budgets) study.parabolas.push_back(fit_parabola(runs, budget, ones(runs.size())));
  study.isoflop = estimate(isoflop_frontier, runs, study.budgets, law);
  study.envelope = estimate(by_envelope, runs, study.budgets, law);
  fit_envelope_law(study, runs);
  const std::vector<CountedPoints> counted = fit_countings(study, centred);
  if (settings.resamples > 0) take_intervals(study, draw_resamples(*study.best().form, study, counted));
  find_influences(study, points, centred);
  study.warnings = find_warnings(study);
  return study;
}

}  // namespace retain
