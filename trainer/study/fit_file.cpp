#include "trainer/study/fit_file.h"

#include <fmt/core.h>

#include <cmath>

#include "kernels/core/error.h"
#include "trainer/file.h"
#include "trainer/json.h"
#include "trainer/study/multistart.h"

namespace retain {
namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t kFitLimitBytes = int64_t{512} << 20;
constexpr int kSchema = 1;

Json to_json(const Interval& i) {
  return {{"p2.5", i.p025}, {"p10", i.p10}, {"p50", i.p50}, {"p90", i.p90}, {"p97.5", i.p975}, {"se", i.se}};
}

Json to_json(const SearchedFit& fit) {
  return {{"objective", fit.objective},
          {"starts", fit.starts},
          {"starts_at_optimum", fit.starts_at_optimum},
          {"share", static_cast<double>(fit.starts_at_optimum) / fit.starts}};
}

Json to_json(const ExponentEstimate& e) {
  Json json = {{"a", e.a}, {"b", e.b}, {"predicted_bias_of_a", e.predicted_bias}};
  if (e.a_interval) json["a_interval"] = to_json(*e.a_interval);
  if (e.b_interval) json["b_interval"] = to_json(*e.b_interval);
  return json;
}

void put_constants(Json& json, const Law& law) {
  json["gamma"] = law.gamma;
  json["alpha"] = law.alpha;
  json["beta"] = law.beta;
  json["E"] = law.e;
  json["A"] = law.a;
  json["B"] = law.b;
}

Json to_json(const FormFit& fit) {
  Json json = {{"formula", fit.form->formula}};
  put_constants(json, fit.law);
  json["objective"] = fit.objective;
  json["a"] = fit.law.params_exponent();
  json["b"] = fit.law.tokens_exponent();
  json["hessian_condition"] = fit.condition.all;
  json["projected_condition"] = fit.condition.projected;
  json["solvers"] = {{"variable_projection", to_json(fit.projection)}};
  if (fit.multistart) json["solvers"]["levenberg_marquardt"] = to_json(*fit.multistart);
  json["solvers_differ_by"] = fit.disagreement();
  if (fit.held_out)
    json["held_out"] = {{"runs", fit.held_out->runs},
                        {"rms_ln_loss", fit.held_out->rms},
                        {"mean_ln_loss", fit.held_out->mean},
                        {"errors", fit.held_out->errors}};
  return json;
}

Json budgets_to_json(const StudyFit& study) {
  Json json = Json::array();
  for (size_t i = 0; i < study.budgets.size(); ++i) {
    Json budget = {{"flops", std::exp(study.budgets[i].ln_flops)}, {"runs", study.budgets[i].runs.size()}};
    const std::optional<Parabola>& p = study.parabolas[i];
    budget["inside"] = p && p->inside();
    if (p && p->has_minimum())
      budget["minimum"] = {{"params", std::exp(p->minimum.ln_params)},
                           {"tokens", std::exp(p->minimum.ln_tokens)},
                           {"loss", p->minimum.loss}};
    json.push_back(budget);
  }
  return json;
}

Json countings_to_json(const StudyFit& study) {
  Json json = Json::object();
  for (const CountingFit& counting : study.countings) {
    Json& each = json[counting_name(counting.counting)];
    put_constants(each, counting.law);
    each["parametric"] = to_json(counting.parametric);
    if (counting.isoflop) each["isoflop"] = to_json(*counting.isoflop);
  }
  return json;
}

Json options_to_json(const StudyFit& study, const RunsQuery& query) {
  Json only = Json::array();
  for (const RowFilter& filter : query.only) only.push_back(filter.text);
  const FitSettings& o = study.settings;
  return {{"map", query.map.text},
          {"only", only},
          {"holdout", query.holdout ? query.holdout->text : ""},
          {"form", o.form},
          {"loss", fmt::format("huber:{}", o.delta)},
          {"starts", o.starts},
          {"bootstrap", o.resamples},
          {"seed", o.seed},
          {"ceres", have_ceres()}};
}

Json exponents_to_json(const StudyFit& study) {
  Json json = {{"parametric", to_json(study.parametric)}};
  if (study.isoflop) json["isoflop"] = to_json(*study.isoflop);
  if (study.envelope) json["envelope"] = to_json(*study.envelope);
  return json;
}

void put_findings(Json& json, const StudyFit& study) {
  Json& excluded = json["excluded"] = Json::array();
  for (const ExcludedRow& row : study.table.excluded) excluded.push_back({{"run_id", row.id}, {"reason", row.reason}});
  Json& influences = json["leave_one_out"] = Json::array();
  for (const Influence& i : study.influences)
    influences.push_back({{"run_id", i.run}, {"constant", i.constant}, {"moved", i.moved}, {"se", i.se}});
  Json& warnings = json["warnings"] = Json::array();
  for (const StudyWarning& warning : study.warnings)
    warnings.push_back({{"name", warning.name}, {"message", warning.message}});
}

Json summary(const StudyFit& study, const RunsQuery& query, const BuildName& build) {
  const FormFit& best = study.best();
  Json json = {{"schema", kSchema}, {"form", best.form->name}};
  put_constants(json, best.law);
  json["objective"] = best.objective;
  json["n"] = study.table.runs.size();
  json["eval_set"] = study.table.runs.front().eval_set;
  json["a"] = study.parametric.a;
  json["b"] = study.parametric.b;
  json["reason"] = study.reason;
  const SearchedFit& searched = best.multistart ? *best.multistart : best.projection;
  json["share_of_starts_at_optimum"] = static_cast<double>(searched.starts_at_optimum) / searched.starts;
  json["hessian_condition"] = best.condition.all;
  json["ln"] = {{"E", std::log(best.law.e)}, {"A", std::log(best.law.a)}, {"B", std::log(best.law.b)}};
  Json& intervals = json["intervals"] = Json::object();
  for (size_t i = 0; i < study.intervals.size(); ++i) intervals[Law::names()[i]] = to_json(study.intervals[i]);
  json["residual_sigma"] = study.residual_sigma;
  if (study.seed_sigma) json["seed_sigma"] = *study.seed_sigma;
  json["held_out"] = study.holdout;
  Json& forms = json["forms"] = Json::object();
  for (const FormFit& form : study.forms) forms[form.form->name] = to_json(form);
  json["exponents"] = exponents_to_json(study);
  json["budgets"] = budgets_to_json(study);
  if (study.envelope_law)
    json["envelope_law"] = {
        {"E", study.envelope_law->e}, {"A", study.envelope_law->a}, {"alpha", study.envelope_law->alpha}};
  if (study.countings.size() > 1) json["countings"] = countings_to_json(study);
  json["resamples_redrawn"] = study.redrawn;
  put_findings(json, study);
  json["options"] = options_to_json(study, query);
  json["table"] = {{"path", study.table.path}, {"xxh3", fmt::format("{:016x}", study.table.checksum)}};
  json["version"] = build.version;
  json["commit"] = build.commit;
  return json;
}

/// One element a line.
std::string lines(const std::string& key, const std::vector<Json>& rows) {
  std::string text = ",\n  \"" + key + "\": [";
  for (size_t i = 0; i < rows.size(); ++i) text += (i ? ",\n    " : "\n    ") + rows[i].dump();
  return text + "\n  ]";
}

}  // namespace

std::string write_fit(const StudyFit& study, const RunsQuery& query, const BuildName& build) {
  std::string text = summary(study, query, build).dump(2);
  text.resize(text.size() - std::string_view("\n}").size());
  std::vector<Json> rows, resamples;
  for (size_t i = 0; i < study.table.runs.size(); ++i) {
    const StudyRun& run = study.table.runs[i];
    rows.push_back({{"run_id", run.id},
                    {"params", run.params},
                    {"tokens", run.tokens},
                    {"flops", run.flops},
                    {"loss", run.loss},
                    {"residual", study.residuals[i]},
                    {"held_out", run.held_out}});
  }
  for (const Law& law : study.resamples) resamples.push_back(law.constants());
  return text + lines("rows", rows) + lines("resamples", resamples) + "\n}\n";
}

FittedStudy read_fit(const std::string& path) {
  FittedStudy fit;
  fit.path = path;
  fit.json = parse_strict_json(read_text(File::open_given(path), kFitLimitBytes), path + ": ");
  const JsonReader root(fit.json, path + ": ");
  root.at("schema").whole_number(kSchema, kSchema);
  fit.form = &find_form(root.at("form").text());
  const auto law_of = [](const JsonReader& j) {
    return Law{j.at("E").number(),     j.at("A").number(),    j.at("B").number(),
               j.at("alpha").number(), j.at("beta").number(), j.at("gamma").number()};
  };
  fit.law = law_of(root);
  fit.table_checksum = std::stoull(root.at("table").at("xxh3").text(), nullptr, 16);
  fit.eval_set = root.at("eval_set").text();
  fit.seed = static_cast<uint64_t>(root.at("options").at("seed").whole_number(0, INT64_MAX));
  for (const JsonReader& row : root.at("rows").elements()) {
    StudyRun run;
    run.id = row.at("run_id").text();
    run.params = row.at("params").number();
    run.tokens = row.at("tokens").number();
    run.flops = row.at("flops").number();
    run.loss = row.at("loss").number();
    run.held_out = row.at("held_out").flag();
    run.counted[0] = run.params;
    fit.residuals.push_back(row.at("residual").number());
    fit.runs.push_back(run);
  }
  for (const JsonReader& row : root.at("resamples").elements()) {
    std::vector<double> c;
    for (const JsonReader& each : row.elements()) c.push_back(each.number());
    if (c.size() != Law::kConstants) row.refuse("six constants");
    fit.resamples.push_back({c[0], c[1], c[2], c[3], c[4], c[5]});
  }
  return fit;
}

void check_table(const FittedStudy& fit, const std::string& path) {
  if (table_checksum(path) == fit.table_checksum) return;
  throw Error(ErrorKind::kData,
              fmt::format("{}: not the table that {} was fitted to ({}); fit this one with 'retain study fit {}'", path,
                          fit.path, fit.json["table"].value("path", ""), path));
}

}  // namespace retain
