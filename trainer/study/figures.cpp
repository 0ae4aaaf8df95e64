#include "trainer/study/figures.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <string_view>
#include <tuple>

#include "trainer/study/plot_script.h"
#include "trainer/study/predict.h"

namespace retain {
namespace {

constexpr int kCurvePoints = 200, kBandPoints = 40;

/// For a text in double quotes that gnuplot sets with its marks for subscripts and the like.
std::string escaped(const std::string& text) {
  std::string plain;
  for (const char c : text) {
    if (std::string_view("\\\"`_^@&~{}$").find(c) != std::string_view::npos)
      plain += c == '"' || c == '`' ? "'" : "\\\\" + std::string(1, c);
    else if (static_cast<unsigned char>(c) >= 0x20)
      plain += c;
  }
  return plain;
}

/// What the figures share.
struct Drawn {
  const FittedStudy& fit;
  RunPoints points;
  std::vector<double> weights;
  std::vector<Budget> budgets;
  std::string loss_label;  ///< a table of `study collect` has sets and nats; of others the unit is not known
  PlotRange params, tokens, flops, loss;

  explicit Drawn(const FittedStudy& fit) : fit(fit), points(run_points(fit.runs)), weights(fit.runs.size(), 1.0) {
    budgets = find_budgets(points.ln_flops, points.ln_params);
    loss_label = fit.eval_set.empty() ? "loss" : fmt::format("loss on {} (nats a token)", escaped(fit.eval_set));
    for (const StudyRun& run : fit.runs) {
      params.take(run.params);
      tokens.take(run.tokens);
      flops.take(run.flops);
      loss.take(run.loss);
    }
  }
};

// ---- isoFLOP curves ----

Figure isoflop(const Drawn& d) {
  std::string runs, curves, minima, plot;
  PlotRange shown;
  const size_t n = d.budgets.size();
  for (size_t k = 0; k < n; ++k) {
    const Budget& budget = d.budgets[k];
    for (const size_t i : budget.runs) {
      runs += fmt::format("{:.9g} {:.9g}\n", d.fit.runs[i].params, d.fit.runs[i].loss);
      shown.take(d.fit.runs[i].params);
    }
    runs += "\n\n";
    const std::optional<Parabola> p = fit_parabola(d.points, budget, d.weights);
    if (p) {
      const PlotRange range{std::exp(p->least_ln_params), std::exp(p->most_ln_params)};
      for (int i = 0; i < kCurvePoints; ++i) {
        const double params = range.at(i, kCurvePoints);
        curves += fmt::format("{:.9g} {:.9g}\n", params, p->at(std::log(params)));
      }
      if (p->inside()) minima += fmt::format("{:.9g} {:.9g}\n", std::exp(p->minimum.ln_params), p->minimum.loss);
    }
    curves += p ? "\n\n" : "nan nan\n\n\n";
    plot += fmt::format(
        "\"isoflop_curves.txt\" index {0} with lines lw 1.5 lc rgb \"{1}\" notitle, \\\n"
        "       \"isoflop_runs.txt\" index {0} with points pt 7 ps 0.7 lc rgb \"{1}\" title \"{2}\", \\\n       ",
        k, color_of(k, n), power_of_ten(std::exp(budget.ln_flops)));
  }
  if (minima.empty()) minima = "nan nan\n";
  const std::string body = std::string(kCommonStyle) + log_axis("x", shown.widened(1.15)) +
                           "  set xlabel \"parameters N\"\n  set ylabel \"" + d.loss_label +
                           "\"\n  set key title \"FLOPs\"\n  plot " + plot +
                           "\"isoflop_minima.txt\" with points pt 3 ps 1.6 lw 1.5 lc rgb \"black\" title \"minimum\"\n";
  return {"isoflop",
          "Loss by size in each budget, with the parabolas of approach 2 and their minima.",
          plot_script("isoflop", 1000, 620, body),
          {{"isoflop_runs.txt", runs}, {"isoflop_curves.txt", curves}, {"isoflop_minima.txt", minima}}};
}

// ---- N*(C) and D*(C) ----

/// A value and the ends of its 95 %.
std::string band(const Predicted& p) {
  return fmt::format("{:.9g} {:.9g} {:.9g}", p.value, p.interval ? p.interval->p025 : p.value,
                     p.interval ? p.interval->p975 : p.value);
}

std::string frontier_points(const std::optional<Frontier>& frontier, double Minimum::*which) {
  std::string text;
  if (frontier)
    for (const Minimum& m : frontier->points)
      text += fmt::format("{:.9g} {:.9g}\n", std::exp(m.ln_flops), std::exp(m.*which));
  return text.empty() ? "nan nan\n" : text;
}

struct Quantity {
  std::string name, label;
  double Minimum::*measured;
  PowerLine Frontier::*line;
  Predicted BudgetPrediction::*predicted;
};

/// A plot of N* or D* by C: the law with its band, approach 2 and approach 1.
Figure optimal(const Drawn& d, const Quantity& q, const std::string& caption) {
  const std::optional<Frontier> isoflop = isoflop_frontier(d.points, d.budgets, d.weights);
  const std::optional<Frontier> best = envelope_frontier(d.points, d.weights);
  const PlotRange range = d.flops.widened(3);
  std::string curve;
  const auto line_at = [&](const std::optional<Frontier>& f, double flops) {
    if (!f) return std::string("nan");
    const PowerLine& line = (*f).*(q.line);
    return fmt::format("{:.9g}", std::exp(line.intercept + line.slope * std::log(flops)));
  };
  PlotRange shown;
  for (int i = 0; i < kBandPoints; ++i) {
    const double flops = range.at(i, kBandPoints);
    const Predicted p = predict_budget(d.fit, flops).*(q.predicted);
    curve += fmt::format("{:.9g} {} {} {}\n", flops, band(p), line_at(isoflop, flops), line_at(best, flops));
    shown.take(p.value);
  }
  for (const std::optional<Frontier>* each : {&isoflop, &best})
    if (*each)
      for (const Minimum& m : (*each)->points) shown.take(std::exp(m.*(q.measured)));
  const std::string file = q.name + "_curves.txt", two = q.name + "_isoflop.txt", one = q.name + "_envelope.txt";
  std::string body = std::string(kCommonStyle) + log_axis("x", range) + log_axis("y", shown.widened(2)) +
                     fmt::format("  set xlabel \"compute C (FLOPs)\"\n  set ylabel \"{}\"\n", q.label);
  body += fmt::format(
      "  plot \"{0}\" using 1:3:4 with filledcurves fs solid 0.25 noborder lc rgb \"#1f77b4\" title \"95 % of approach "
      "3\", \\\n"
      "       \"{0}\" using 1:2 with lines lw 2 lc rgb \"#1f77b4\" title \"approach 3: the law\"",
      file);
  if (isoflop)
    body += fmt::format(
        ", \\\n       \"{0}\" using 1:5 with lines lw 1.5 dt 2 lc rgb \"#d62728\" title \"approach 2: isoFLOP\", \\\n"
        "       \"{1}\" with points pt 3 ps 1.3 lc rgb \"#d62728\" title \"minima\"",
        file, two);
  if (best)
    body += fmt::format(
        ", \\\n       \"{0}\" using 1:6 with lines lw 1.5 dt 4 lc rgb \"#2ca02c\" title \"approach 1: envelope\", \\\n"
        "       \"{1}\" with points pt 6 ps 0.9 lc rgb \"#2ca02c\" title \"best runs\"",
        file, one);
  return {q.name,
          caption,
          plot_script(q.name, 900, 560, body + "\n"),
          {{file, curve}, {two, frontier_points(isoflop, q.measured)}, {one, frontier_points(best, q.measured)}}};
}

// ---- contours ----

/// Tokens at which a model of this size reaches a loss; nan where it never does.
double tokens_for(const Law& law, double params, double loss) {
  const double rest = std::pow(loss - law.e, 1 / law.gamma) - law.a * std::pow(params, -law.alpha);
  return loss > law.e && rest > 0 ? std::pow(law.b / rest, 1 / law.beta) : std::nan("");
}

Figure contours(const Drawn& d) {
  const Law& law = d.fit.law;
  const PlotRange params = d.params.widened(3), tokens = d.tokens.widened(3);
  const double worst = std::min(law.loss(params.low, tokens.low), d.loss.high),
               best = law.loss(params.high, tokens.high);
  constexpr int kLevels = 9;
  std::string lines, labels, frontier, runs;
  for (int k = 1; k <= kLevels; ++k) {
    // Even in the logarithm of what can be reduced.
    const double loss = law.e + std::exp(std::log(worst - law.e) +
                                         (std::log(best - law.e) - std::log(worst - law.e)) * k / (kLevels + 1));
    double label_params = 0;
    for (int i = 0; i < kCurvePoints; ++i) {
      const double at = params.at(i, kCurvePoints), need = tokens_for(law, at, loss);
      const bool inside = need >= tokens.low && need <= tokens.high;
      lines += inside ? fmt::format("{:.9g} {:.9g}\n", at, need) : std::string("nan nan\n");
      if (inside) label_params = at;
    }
    lines += "\n\n";
    if (label_params > 0) {
      const double at = std::min(label_params, params.at(kCurvePoints - 8, kCurvePoints));
      labels += fmt::format("{:.9g} {:.9g} {:.3f}\n", at, tokens_for(law, at, loss), loss);
    }
  }
  const PlotRange flops = d.flops.widened(10);
  for (int i = 0; i < kCurvePoints; ++i) {
    const double c = flops.at(i, kCurvePoints);
    frontier += fmt::format("{:.9g} {:.9g}\n", law.optimal_params(c), law.optimal_tokens(c));
  }
  for (const StudyRun& run : d.fit.runs) runs += fmt::format("{:.9g} {:.9g}\n", run.params, run.tokens);
  if (labels.empty()) labels = "nan nan 0\n";
  const std::string body =
      std::string(kCommonStyle) + log_axis("x", params) + log_axis("y", tokens) +
      "  set xlabel \"parameters N\"\n  set ylabel \"tokens D\"\n  set style textbox opaque noborder margins 0.3,0.3\n"
      "  plot \"contours_lines.txt\" with lines lw 1 lc rgb \"#888888\" title \"equal loss\", \\\n"
      "       \"contours_runs.txt\" with points pt 7 ps 0.5 lc rgb \"#1f77b4\" title \"runs\", \\\n"
      "       \"contours_frontier.txt\" with lines lw 2 lc rgb \"#d62728\" title \"compute-optimal\", \\\n"
      "       \"contours_labels.txt\" using 1:2:3 with labels font \",10\" tc rgb \"#444444\" boxed notitle\n";
  return {"contours",
          "Lines of equal loss of the law, the compute-optimal frontier and the runs.",
          plot_script("contours", 900, 620, body),
          {{"contours_lines.txt", lines},
           {"contours_labels.txt", labels},
           {"contours_frontier.txt", frontier},
           {"contours_runs.txt", runs}}};
}

// ---- residuals ----

Figure residuals(const Drawn& d) {
  std::string data;
  for (size_t i = 0; i < d.fit.runs.size(); ++i)
    data += fmt::format("{:.9g} {:.9g} {:.6g} {}\n", d.fit.runs[i].params, d.fit.runs[i].tokens,
                        100 * std::expm1(d.fit.residuals[i]), d.fit.runs[i].held_out ? 1 : 0);
  const double sigma = 100 * robust_sigma(d.fit.residuals, d.fit.form->free_constants());
  const auto panel = [&](int column, const std::string& label, const PlotRange& range) {
    return log_axis("x", range.widened(1.3)) + fmt::format(
                                                   "  set xlabel \"{0}\"\n"
                                                   "  plot {1:.6g} with lines dt 2 lc rgb \"#888888\" notitle, "
                                                   "-{1:.6g} with lines dt 2 lc rgb \"#888888\" notitle, \\\n"
                                                   "       0 with lines lc rgb \"#555555\" notitle, \\\n"
                                                   "       \"residuals.txt\" using {2}:($4 == 0 ? $3 : NaN) with "
                                                   "points pt 7 ps 0.6 lc rgb \"#1f77b4\" notitle, \\\n"
                                                   "       \"residuals.txt\" using {2}:($4 == 1 ? $3 : NaN) with "
                                                   "points pt 7 ps 0.6 lc rgb \"#d62728\" notitle\n",
                                                   label, sigma, column);
  };
  const std::string body = std::string(kCommonStyle) +
                           fmt::format(
                               "  set multiplot layout 1,2 title \"measured less predicted loss (dashed: ±1 sigma = "
                               "{:.2g} %; red: runs that the choice of "
                               "a form held out)\"\n  set ylabel \"residual (%)\"\n",
                               sigma) +
                           panel(1, "parameters N", d.params) + "  unset ylabel\n" + panel(2, "tokens D", d.tokens) +
                           "  unset multiplot\n";
  return {"residuals",
          "Residuals of the law against size and tokens; a trend says that the form is wrong.",
          plot_script("residuals", 1100, 480, body),
          {{"residuals.txt", data}}};
}

// ---- bootstrap pairs ----

/// Constants are not finite where a term vanished: log A of A = 0.
struct Column {
  const char* label;
  double (*value)(const Law&);
};

std::vector<Column> varying(const LawForm& form) {
  std::vector<Column> columns;
  if (form.fits_e) columns.push_back({"E", [](const Law& law) { return law.e; }});
  columns.push_back({"log_{10} A", [](const Law& law) { return std::log10(law.a); }});
  columns.push_back({"log_{10} B", [](const Law& law) { return std::log10(law.b); }});
  columns.push_back({"{/Symbol a}", [](const Law& law) { return law.alpha; }});
  if (form.beta == LawForm::Beta::kFree) columns.push_back({"{/Symbol b}", [](const Law& law) { return law.beta; }});
  if (form.fits_gamma) columns.push_back({"{/Symbol g}", [](const Law& law) { return law.gamma; }});
  return columns;
}

/// gnuplot leaves out a point at nan.
std::string coordinate(double value) { return std::isfinite(value) ? fmt::format("{:.9g} ", value) : "nan "; }

/// What one panel of the pairs shows of a column: its range, with a tic at every round step.
struct Axis {
  double low = 0, high = 0, step = 1;
};

Axis axis_of(const std::vector<Law>& laws, size_t shown, const Column& column) {
  std::vector<double> values;
  for (size_t i = 0; i < shown; ++i)
    if (const double value = column.value(laws[i]); std::isfinite(value)) values.push_back(value);
  if (values.empty()) values.push_back(0);
  std::sort(values.begin(), values.end());
  const double low = quantile(values, 0.005), high = quantile(values, 0.995);
  const double margin = std::max(0.08 * (high - low), 1e-9 * std::max(std::abs(high), 1.0));
  return {low - margin, high + margin, round_step((high - low + 2 * margin) / 4)};
}

/// Panel (row, column) of the lower triangle: constant `row` against constant `column`.
std::string pair_panel(const std::vector<Column>& columns, const std::vector<Axis>& axes, size_t row, size_t column) {
  const double cell = 0.90 / static_cast<double>(columns.size() - 1);
  const double left = 0.09 + cell * static_cast<double>(column),
               top = 0.94 - 0.97 * cell * static_cast<double>(row - 1);
  std::string text = fmt::format(
      "  set lmargin at screen {:.4f}; set rmargin at screen {:.4f}\n"
      "  set tmargin at screen {:.4f}; set bmargin at screen {:.4f}\n",
      left, left + 0.88 * cell, top, top - 0.84 * cell);
  for (const auto& [letter, k, outermost] :
       {std::tuple('x', column, row + 1 == columns.size()), std::tuple('y', row, column == 0)}) {
    text += fmt::format("  set {0}range [{1:.9g}:{2:.9g}]; set {0}tics {3:.6g}\n", letter, axes[k].low, axes[k].high,
                        axes[k].step);
    text += outermost ? fmt::format("  set {0}label \"{1}\"; set format {0} \"%g\"\n", letter, columns[k].label)
                      : fmt::format("  unset {0}label; set format {0} \"\"\n", letter);
  }
  return text + fmt::format(
                    "  plot \"bootstrap_resamples.txt\" using {0}:{1} with points pt 7 ps 0.25 lc rgb \"#1f77b4\", \\\n"
                    "       \"bootstrap_fit.txt\" using {0}:{1} with points pt 2 ps 1.4 lw 2 lc rgb \"#d62728\"\n",
                    column + 1, row + 1);
}

Figure bootstrap(const Drawn& d) {
  constexpr size_t kShown = 1000;
  const std::vector<Column> columns = varying(*d.fit.form);
  const size_t shown = std::min(kShown, d.fit.resamples.size());
  std::string data, fitted;
  for (size_t i = 0; i < shown; ++i) {
    for (const Column& column : columns) data += coordinate(column.value(d.fit.resamples[i]));
    data += "\n";
  }
  std::vector<Axis> axes;
  for (const Column& column : columns) {
    fitted += coordinate(column.value(d.fit.law));
    axes.push_back(axis_of(d.fit.resamples, shown, column));
  }
  std::string body = std::string(kCommonStyle) + "  unset key\n" +
                     fmt::format("  set multiplot title \"{} resamples of the runs (red: the fit)\"\n", shown);
  for (size_t row = 1; row < columns.size(); ++row)
    for (size_t column = 0; column < row; ++column) body += pair_panel(columns, axes, row, column);
  body += "  unset multiplot\n";
  return {"bootstrap",
          "The law's constants over resampled runs, pair by pair.",
          plot_script("bootstrap", 900, 900, body),
          {{"bootstrap_resamples.txt", data}, {"bootstrap_fit.txt", fitted + "\n"}}};
}

// ---- loss against compute ----

Figure compute(const Drawn& d) {
  std::string runs, best, law;
  for (const StudyRun& run : d.fit.runs)
    runs += fmt::format("{:.9g} {:.9g} {:.9g}\n", run.flops, run.loss, std::log10(run.params));
  for (const size_t i : envelope(d.points, d.weights))
    best += fmt::format("{:.9g} {:.9g}\n", d.fit.runs[i].flops, d.fit.runs[i].loss);
  const PlotRange range = d.flops.widened(3);
  for (int i = 0; i < kBandPoints; ++i) {
    const double flops = range.at(i, kBandPoints);
    const LossPrediction p = predict_budget(d.fit, flops).at_optimum;
    law += fmt::format("{:.9g} {}\n", flops, band(p.mean));
  }
  const std::string body =
      std::string(kCommonStyle) + log_axis("x", range) +
      fmt::format(
          "  set xlabel \"compute C (FLOPs)\"\n  set ylabel \"{}\"\n"
          "  set palette defined (0 \"#301282\", 1 \"#1f77b4\", 2 \"#2ca05a\", 3 \"#f0961e\", 4 \"#c82828\")\n"
          "  set cbrange [{:.4g}:{:.4g}]\n  set cblabel \"log_{{10}} of parameters\"\n"
          "  set key outside below center horizontal maxrows 2\n  set xlabel offset 0,0.4\n",
          d.loss_label, std::log10(d.params.low), std::log10(d.params.high) + 1e-3) +
      "  plot \"compute_law.txt\" using 1:3:4 with filledcurves fs solid 0.25 noborder lc rgb \"#d62728\" title "
      "\"95 % of the law at the optimum\", \\\n"
      "       \"compute_law.txt\" using 1:2 with lines lw 1.5 lc rgb \"#d62728\" title \"the law at the optimum\", \\\n"
      "       \"compute_envelope.txt\" with steps lw 1.5 lc rgb \"#555555\" title \"envelope\", \\\n"
      "       \"compute_runs.txt\" using 1:2:3 with points pt 7 ps 0.6 lc palette title \"runs\"\n";
  return {"compute",
          "Loss against compute: all runs, their envelope, and the law where training is compute-optimal.",
          plot_script("compute", 900, 640, body),
          {{"compute_runs.txt", runs}, {"compute_envelope.txt", best}, {"compute_law.txt", law}}};
}

}  // namespace

std::vector<Figure> draw_figures(const FittedStudy& fit) {
  const Drawn d(fit);
  std::vector<Figure> figures;
  if (!d.budgets.empty()) figures.push_back(isoflop(d));
  figures.push_back(optimal(d,
                            {"optimal_params", "compute-optimal parameters N*", &Minimum::ln_params, &Frontier::params,
                             &BudgetPrediction::params},
                            "Compute-optimal size by budget, by all approaches."));
  figures.push_back(optimal(d,
                            {"optimal_tokens", "compute-optimal tokens D*", &Minimum::ln_tokens, &Frontier::tokens,
                             &BudgetPrediction::tokens},
                            "Compute-optimal tokens by budget, by all approaches."));
  figures.push_back(contours(d));
  figures.push_back(residuals(d));
  if (fit.resamples.size() > 1) figures.push_back(bootstrap(d));
  figures.push_back(compute(d));
  return figures;
}

}  // namespace retain
