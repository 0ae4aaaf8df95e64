#include "trainer/study/report.h"

#include <fmt/core.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <string_view>

#include "kernels/core/text.h"
#include "trainer/study/figures.h"
#include "trainer/study/predict.h"

namespace retain {
namespace {

using Json = nlohmann::json;
using Cells = std::vector<std::string>;

/// A table of Markdown with columns as wide as their widest cell.
std::string table(const std::vector<Cells>& rows) {
  std::vector<int> width(rows.front().size(), 3);
  for (const Cells& row : rows)
    for (size_t i = 0; i < row.size(); ++i) width[i] = std::max(width[i], count_characters(row[i]));
  std::string text;
  for (size_t r = 0; r < rows.size(); ++r) {
    for (size_t i = 0; i < rows[r].size(); ++i)
      text += fmt::format("| {}{:{}} ", rows[r][i], "", width[i] - count_characters(rows[r][i]));
    text += "|\n";
    if (r == 0) {
      for (const int w : width) text += fmt::format("|{:-<{}}", "", w + 2);
      text += "|\n";
    }
  }
  return text + "\n";
}

std::string number(double value, int digits = 4) { return fmt::format("{:.{}g}", value, digits); }

/// JSON has no number for what is infinite or none.
double real(const Json& json) { return json.is_number() ? json.get<double>() : std::nan(""); }

std::string number(const Json& json, int digits = 4) { return number(real(json), digits); }

/// "[0.31, 0.38]", or "-" without resamples.
std::string range95(const Json& parent, const std::string& key) {
  if (!parent.contains(key)) return "-";
  return fmt::format("[{:.4g}, {:.4g}]", real(parent[key].at("p2.5")), real(parent[key].at("p97.5")));
}

std::string range80(const Json& parent, const std::string& key) {
  if (!parent.contains(key)) return "-";
  return fmt::format("[{:.4g}, {:.4g}]", real(parent[key].at("p10")), real(parent[key].at("p90")));
}

std::string head(const FittedStudy& fit) {
  const Law& law = fit.law;
  std::string text = fmt::format("# A scaling law from {} runs\n\n", fit.runs.size());
  text += fmt::format("    L(N, D) = {}\n\n", fit.form->formula);
  text += fmt::format(
      "with E = {:.5g}, A = {:.5g}, B = {:.5g}, alpha = {:.5g}, beta = {:.5g}, gamma = {:.5g}; N* ~ C^{:.4f}, "
      "D* ~ C^{:.4f}.\n",
      law.e, law.a, law.b, law.alpha, law.beta, law.gamma, law.params_exponent(), law.tokens_exponent());
  text += fmt::format("The form is `{}`: {}.\n", fit.form->name, fit.json.at("reason").get<std::string>());
  const std::string held_out = fit.json.at("held_out");
  if (!held_out.empty()) text += fmt::format("Held out for that: {}; the constants are those of all runs.\n", held_out);
  text += fmt::format("Residuals of ln loss: sigma {:.2g} (robust)", real(fit.json.at("residual_sigma")));
  if (fit.json.contains("seed_sigma"))
    text += fmt::format("; between seeds of one cell {:.2g}", real(fit.json["seed_sigma"]));
  return text + ".\n\n";
}

std::string warnings(const FittedStudy& fit) {
  std::string text = "## Warnings\n\n";
  if (fit.json.at("warnings").empty()) return text + "None.\n\n";
  for (const Json& warning : fit.json["warnings"])
    text +=
        fmt::format("- **{}**: {}\n", warning.at("name").get<std::string>(), warning.at("message").get<std::string>());
  return text + "\n";
}

std::string constants(const FittedStudy& fit) {
  std::vector<Cells> rows = {{"constant", "value", "error", "80 %", "95 %"}};
  const Json& intervals = fit.json.at("intervals");
  for (size_t i = 0; i < Law::kConstants; ++i) {
    const std::string name = Law::names()[i];
    const double value = fit.law.constants()[i];
    rows.push_back({name, number(value, 6), intervals.contains(name) ? number(intervals[name].at("se"), 2) : "-",
                    range80(intervals, name), range95(intervals, name)});
  }
  return fmt::format(
             "## Constants\n\nOver {} resamples of the runs. The condition of all constants is {:.2g}, of the "
             "exponents alone {:.2g}.\n\n",
             fit.resamples.size(), real(fit.json.at("hessian_condition")),
             real(fit.json.at("forms").at(fit.form->name).at("projected_condition"))) +
         table(rows);
}

Law law_of(const Json& j) { return {j.at("E"), j.at("A"), j.at("B"), j.at("alpha"), j.at("beta"), j.at("gamma")}; }

std::string forms(const FittedStudy& fit, double flops) {
  std::vector<Cells> rows = {{"form", "E", "alpha", "beta", "gamma", "a", "objective", "held-out error", "N* there",
                              "L there", "starts at it", "solvers differ by"}};
  for (const auto& [name, form] : fit.json.at("forms").items()) {
    const Law law = law_of(form);
    const Json& solver = form.at("solvers").contains("levenberg_marquardt") ? form["solvers"]["levenberg_marquardt"]
                                                                            : form["solvers"]["variable_projection"];
    rows.push_back(
        {name + (name == fit.form->name ? " (chosen)" : ""), number(law.e), number(law.alpha), number(law.beta),
         number(law.gamma), number(law.params_exponent(), 3), number(form.at("objective"), 6),
         form.contains("held_out") ? fmt::format("{:.2g} %", 100 * real(form["held_out"].at("rms_ln_loss"))) : "-",
         number(law.optimal_params(flops), 3), number(law.loss(law.optimal_params(flops), law.optimal_tokens(flops))),
         fmt::format("{} of {}", solver.at("starts_at_optimum").get<int>(), solver.at("starts").get<int>()),
         number(form.at("solvers_differ_by"), 1)});
  }
  return fmt::format(
             "## Forms, and what each changes\n\nThe last prediction is at C = {:.3g}, ten times the largest run. "
             "Errors are of ln loss, "
             "root mean square, on held-out runs.\n\n",
             flops) +
         table(rows);
}

std::string envelope_law(const FittedStudy& fit) {
  if (!fit.json.contains("envelope_law")) return "";
  const Json& law = fit.json["envelope_law"];
  return fmt::format("The envelope itself, form `power-C`: L = {:.4g} + {:.4g}/C^{:.4g}.\n\n", real(law.at("E")),
                     real(law.at("A")), real(law.at("alpha")));
}

std::string exponents(const FittedStudy& fit) {
  struct Known {
    const char *key, *name, *bias;
  };
  constexpr Known kKnown[] = {{"parametric", "3: the law", "none of the grid; that of a wrong form"},
                              {"isoflop", "2: isoFLOP parabolas", "width and centre of the grid, alpha not beta"},
                              {"envelope", "1: envelope", "sizes that were trained alone; lucky runs"}};
  std::vector<Cells> rows = {
      {"approach", "a", "95 %", "b", "95 %", "predicted bias of a", "a less bias", "what biases it"}};
  for (const Known& known : kKnown) {
    if (!fit.json.at("exponents").contains(known.key)) continue;
    const Json& e = fit.json["exponents"][known.key];
    const double bias = real(e.at("predicted_bias_of_a"));
    rows.push_back({known.name, number(e.at("a")), range95(e, "a_interval"), number(e.at("b")),
                    range95(e, "b_interval"), fmt::format("{:+.4f}", bias), number(real(e["a"]) - bias), known.bias});
  }
  return "## Compute-optimal exponents\n\nN* ~ C^a, D* ~ C^b. The predicted bias is what an approach finds on the "
         "law's own surface at "
         "these runs, without noise, less what is true there.\n\n" +
         table(rows) + envelope_law(fit);
}

std::string countings(const FittedStudy& fit) {
  if (!fit.json.contains("countings")) return "";
  std::vector<Cells> rows = {{"N counts", "alpha", "beta", "a", "95 %", "b", "approach 2: a", "95 %"}};
  for (const char* name : {"all", "non-embedding", "blocks"}) {
    if (!fit.json["countings"].contains(name)) continue;
    const Json &c = fit.json["countings"][name], &e = c.at("parametric");
    rows.push_back({name, number(c.at("alpha")), number(c.at("beta")), number(e.at("a")), range95(e, "a_interval"),
                    number(e.at("b")), c.contains("isoflop") ? number(c["isoflop"].at("a")) : "-",
                    c.contains("isoflop") ? range95(c["isoflop"], "a_interval") : "-"});
  }
  return "## Which parameters are counted\n\nThe same runs and form, N counted otherwise, at C = 6·N·D with that "
         "N.\n\n" +
         table(rows);
}

std::string budgets(const FittedStudy& fit) {
  if (fit.json.at("budgets").empty()) return "";
  std::vector<Cells> rows = {{"C", "runs", "N* by parabola", "D*", "D*/N*", "loss", "N* by the law"}};
  for (const Json& budget : fit.json["budgets"]) {
    Cells row = {number(budget.at("flops")), std::to_string(budget.at("runs").get<int>())};
    if (budget.at("inside").get<bool>()) {
      const double params = budget.at("minimum").at("params"), tokens = budget["minimum"].at("tokens");
      for (const double each : {params, tokens, tokens / params}) row.push_back(number(each, 3));
      row.push_back(number(budget["minimum"].at("loss")));
    } else {
      row.insert(row.end(), {"none inside", "-", "-", "-"});
    }
    row.push_back(number(fit.law.optimal_params(budget["flops"]), 3));
    rows.push_back(row);
  }
  return "## Budgets\n\n" + table(rows);
}

std::string with_range(const Predicted& p) {
  if (!p.interval) return number(p.value);
  return fmt::format("{:.4g} [{:.4g}, {:.4g}]", p.value, p.interval->p025, p.interval->p975);
}

std::string predictions(const FittedStudy& fit, double most) {
  std::vector<Cells> rows = {{"C", "N*", "D*", "D*/N*", "loss of a run"}};
  for (const double factor : {1.0, 3.0, 10.0, 100.0}) {
    const BudgetPrediction p = predict_budget(fit, most * factor);
    rows.push_back({number(p.flops, 3), with_range(p.params), with_range(p.tokens), with_range(p.tokens_per_param),
                    with_range(p.at_optimum.loss)});
  }
  return "## Predictions\n\nWith 95 % intervals; that of a loss holds the spread of single runs too. What lies far "
         "beyond the runs holds only "
         "if the form does.\n\n" +
         table(rows);
}

std::string excluded(const FittedStudy& fit) {
  if (fit.json.at("excluded").empty()) return "";
  constexpr size_t kShown = 20;
  std::string text = fmt::format("## Excluded rows\n\n{} in all.\n\n", fit.json["excluded"].size());
  for (size_t i = 0; i < std::min(kShown, fit.json["excluded"].size()); ++i)
    text += fmt::format("- {}: {}\n", fit.json["excluded"][i].at("run_id").get<std::string>(),
                        fit.json["excluded"][i].at("reason").get<std::string>());
  return text + "\n";
}

std::string drawn(const FittedStudy& fit, const std::string& folder) {
  if (folder.empty()) return "";
  std::string text = "## Figures\n\n";
  for (const Figure& figure : draw_figures(fit))
    text += fmt::format("![{0}]({1}/{2}.svg)\n\n{0}\n\n", figure.caption, folder, figure.name);
  return text;
}

/// Quoted where the shell would not take it as one word.
std::string in_shell(const std::string& text) {
  const bool plain = std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return std::isalnum(c) || std::string_view("_./-:,").find(static_cast<char>(c)) != std::string_view::npos;
  });
  return plain ? text : "'" + text + "'";
}

std::string repeat(const FittedStudy& fit) {
  const Json& o = fit.json.at("options");
  std::string command = "retain study fit " + in_shell(fit.json.at("table").at("path"));
  if (const std::string map = o.at("map"); !map.empty()) command += " --map \"" + map + "\"";
  for (const Json& only : o.at("only")) command += " --only " + in_shell(only);
  if (const std::string holdout = o.at("holdout"); !holdout.empty()) command += " --holdout " + in_shell(holdout);
  command += fmt::format(" --form {} --loss {} --starts {} --bootstrap {} --seed {}", o.at("form").get<std::string>(),
                         o.at("loss").get<std::string>(), o.at("starts").get<int>(), o.at("bootstrap").get<int>(),
                         o.at("seed").get<int64_t>());
  return fmt::format("## To repeat it\n\n    {}\n\nThe table's XXH3-64 is {}; fitted by retain {} ({}).\n", command,
                     fit.json["table"].at("xxh3").get<std::string>(), fit.json.at("version").get<std::string>(),
                     fit.json.at("commit").get<std::string>());
}

}  // namespace

std::string write_report(const FittedStudy& fit, const std::string& figures) {
  double most = 0;
  for (const StudyRun& run : fit.runs) most = std::max(most, run.flops);
  return head(fit) + warnings(fit) + constants(fit) + forms(fit, 10 * most) + exponents(fit) + countings(fit) +
         budgets(fit) + predictions(fit, most) + excluded(fit) + drawn(fit, figures) + repeat(fit);
}

}  // namespace retain
