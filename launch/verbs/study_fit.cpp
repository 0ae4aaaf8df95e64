// retain study fit, predict, plot, report.
#include <fmt/core.h>

#include <cstdio>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>
#include <span>

#include "kernels/core/error.h"
#include "kernels/core/processors.h"
#include "launch/verbs/verbs.h"
#include "launch/verbs/write_figures.h"
#include "launch/version.h"
#include "trainer/file.h"
#include "trainer/study/figures.h"
#include "trainer/study/fit_file.h"
#include "trainer/study/multistart.h"
#include "trainer/study/predict.h"
#include "trainer/study/report.h"

namespace retain {
namespace {

Path beside(const std::string& path, const std::string& name) { return Path(path).parent_path() / name; }

FitSettings settings_of(const StudyFitOptions& o) {
  FitSettings settings;
  settings.form = o.form;
  settings.delta = o.delta;
  settings.starts = o.starts;
  settings.resamples = o.resamples;
  settings.seed = static_cast<uint64_t>(o.seed);
  settings.threads = o.threads > 0 ? o.threads : threads_of_rank(read_processor_limits(), 1);
  return settings;
}

// ---- predict ----

nlohmann::ordered_json to_json(const Predicted& p) {
  nlohmann::ordered_json json = {{"value", p.value}};
  if (p.interval) {
    json["80%"] = {p.interval->p10, p.interval->p90};
    json["95%"] = {p.interval->p025, p.interval->p975};
  }
  return json;
}

void print_predicted(const std::string& name, const Predicted& p) {
  fmt::print("{:<20}{:<12.6g}", name, p.value);
  if (p.interval)
    fmt::print("  80 % [{:.5g}, {:.5g}]  95 % [{:.5g}, {:.5g}]", p.interval->p10, p.interval->p90, p.interval->p025,
               p.interval->p975);
  fmt::print("\n");
}

void print_loss(const LossPrediction& p) {
  print_predicted("loss of a run", p.loss);
  print_predicted("mean of such runs", p.mean);
}

void print_reach(const FittedStudy& fit, double flops) {
  constexpr double kFar = 10;
  const double factor = extrapolation(fit, flops);
  if (factor > 1)
    fmt::print("C is {:.3g} times that of the largest fitted run{}\n", factor,
               factor > kFar ? ": the intervals hold only if the form does" : "");
  if (fit.resamples.empty()) fmt::print(stderr, "retain: no intervals: {} was fitted with --bootstrap 0\n", fit.path);
}

void predict_run(const FittedStudy& fit, const StudyPredictOptions& o) {
  const LossPrediction p = predict_loss(fit, o.params, o.tokens);
  const double flops = 6 * p.params * p.tokens;
  if (o.json) {
    const nlohmann::ordered_json json = {{"schema", 1},
                                         {"form", fit.form->name},
                                         {"params", p.params},
                                         {"tokens", p.tokens},
                                         {"flops_6nd", flops},
                                         {"loss", to_json(p.loss)},
                                         {"mean", to_json(p.mean)},
                                         {"extrapolation", extrapolation(fit, flops)}};
    std::cout << json.dump(2) << "\n";
    return;
  }
  fmt::print("{:.4g} parameters, {:.4g} tokens, C = 6ND = {:.4g}, by {}\n", p.params, p.tokens, flops, fit.form->name);
  print_loss(p);
  print_reach(fit, flops);
}

void predict_best(const FittedStudy& fit, const StudyPredictOptions& o) {
  const BudgetPrediction p = predict_budget(fit, o.flops);
  if (o.json) {
    const nlohmann::ordered_json json = {{"schema", 1},
                                         {"form", fit.form->name},
                                         {"flops_6nd", p.flops},
                                         {"params", to_json(p.params)},
                                         {"tokens", to_json(p.tokens)},
                                         {"tokens_per_param", to_json(p.tokens_per_param)},
                                         {"loss", to_json(p.at_optimum.loss)},
                                         {"mean", to_json(p.at_optimum.mean)},
                                         {"extrapolation", extrapolation(fit, p.flops)}};
    std::cout << json.dump(2) << "\n";
    return;
  }
  fmt::print("C = 6ND = {:.4g}, by {}\n", p.flops, fit.form->name);
  print_predicted("parameters", p.params);
  print_predicted("tokens", p.tokens);
  print_predicted("tokens/parameter", p.tokens_per_param);
  print_loss(p.at_optimum);
  print_reach(fit, p.flops);
}

}  // namespace

int study_fit(const StudyFitOptions& o) {
  RunsQuery query;
  query.map = parse_column_map(o.map);
  for (const std::string& only : o.only) query.only.push_back(parse_row_filter(only));
  if (!o.holdout.empty()) query.holdout = parse_row_filter(o.holdout);
  if (!have_ceres())
    fmt::print(stderr, "retain: built without Ceres: variable projection fits alone, unchecked by a second solver\n");
  const StudyFit study = fit_study(read_runs(o.runs, query), o.holdout, settings_of(o));
  const std::string out = o.out.empty() ? beside(o.runs, "fit.json").string() : o.out;
  OutputFile file(out);
  const std::string text = write_fit(study, query, {version(), commit()});
  file.write(std::as_bytes(std::span(text)));
  file.sync();
  file.publish();
  std::cout << write_report(read_fit(out), "");
  fmt::print(stderr, "retain: {} is written\n", out);
  return 0;
}

int study_predict(const StudyPredictOptions& o) {
  const FittedStudy fit = read_fit(o.fit);
  if (o.flops > 0) {
    predict_best(fit, o);
  } else {
    predict_run(fit, o);
  }
  return 0;
}

int study_plot(const StudyPlotOptions& o) {
  const FittedStudy fit = read_fit(o.fit);
  check_table(fit, o.runs);
  const Path folder = o.out.empty() ? beside(o.fit, "figures") : Path(o.out);
  write_figures(draw_figures(fit), folder);
  return 0;
}

int study_report(const StudyReportOptions& o) {
  const bool is_folder = std::filesystem::is_directory(o.runs);
  if (!is_folder && o.fit.empty())
    throw Error(ErrorKind::kUsage,
                "retain study report: " + o.runs + " is no folder of a study; give its fit.json too");
  const std::string fit_path = o.fit.empty() ? (Path(o.runs) / "fit.json").string() : o.fit;
  const FittedStudy fit = read_fit(fit_path);
  if (!is_folder) check_table(fit, o.runs);
  const bool drawn = std::filesystem::exists(beside(fit_path, "figures"));
  std::cout << write_report(fit, drawn ? "figures" : "");
  return 0;
}

}  // namespace retain
