#include "trainer/study/results.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "trainer/study/csv.h"

namespace retain::study {
namespace {

using Json = nlohmann::ordered_json;

constexpr double kSecondsPerHour = 3600;
constexpr size_t kStates = 5;

std::string digits(double number) { return std::isfinite(number) ? fmt::format("{}", number) : ""; }

/// Of one run's own steps.
double gpu_hours(const Plan& plan, double seconds) {
  return seconds / kSecondsPerHour * plan.ranks / plan.jobs_per_gpu;
}

double steps_left(const PlannedRun& run, const Progress& progress) {
  return static_cast<double>(run.steps - std::max(run.first_step, progress.step)) /
         static_cast<double>(std::max<int64_t>(1, run.steps - run.first_step));
}

bool is_over(State state) { return state == State::kDone || state == State::kDiverged; }

std::string row(const PlannedRun& run, const Progress& p, const RunState& state, const std::string& set) {
  const bool done = state.state == State::kDone && p.eval_step == run.steps && p.eval_losses.contains(set);
  const auto measured = [&](double number) { return done ? digits(number) : ""; };
  return csv_line({run.name, std::to_string(run.parameters.all), std::to_string(run.parameters.non_embedding),
                   std::to_string(run.parameters.blocks), std::to_string(run.tokens), digits(run.flops),
                   digits(run.flops_6nd), done ? digits(p.eval_losses.at(set)) : "", set, std::to_string(run.seed),
                   run.schedule, digits(run.lr), std::to_string(run.batch_tokens), state_name(state.state),
                   measured(p.median_step_seconds),
                   measured(static_cast<double>(run.batch_tokens) / p.median_step_seconds), done ? p.device : "",
                   done ? p.build : ""});
}

/// For a line of a table; status --json has all of it.
std::string shortened(const std::string& reason) {
  constexpr size_t kMost = 100;
  return reason.size() <= kMost ? reason : reason.substr(0, reason.find_last_of(' ', kMost)) + " …";
}

std::string clock(double seconds) {
  const auto minutes = static_cast<int64_t>(std::ceil(seconds / 60));
  return minutes < 60 ? fmt::format("{} min", minutes) : fmt::format("{} h {:02} min", minutes / 60, minutes % 60);
}

}  // namespace

std::string runs_csv(const Plan& plan, const std::vector<Progress>& progress, const std::vector<RunState>& states) {
  std::string text = csv_line({"run_id", "params", "params_non_embedding", "params_blocks", "tokens", "flops",
                               "flops_6nd", "loss", "eval_set", "seed", "schedule", "lr", "batch", "status",
                               "step_seconds", "tokens_per_second", "device", "build"});
  for (size_t i = 0; i < plan.runs.size(); ++i)
    if (plan.runs[i].is_cell)
      for (const std::string& set : plan.eval_sets) text += row(plan.runs[i], progress[i], states[i], set);
  return text;
}

Totals totals_of(const Plan& plan, const std::vector<Progress>& progress, const std::vector<RunState>& states) {
  Totals totals{.by_state = std::vector<int64_t>(kStates, 0), .planned_gpu_hours = plan.gpu_hours()};
  double measured_seconds = 0, predicted_seconds = 0, left_seconds = 0;
  for (size_t i = 0; i < plan.runs.size(); ++i) {
    const PlannedRun& run = plan.runs[i];
    if (run.is_cell) ++totals.by_state.at(static_cast<size_t>(states[i].state));
    totals.spent_gpu_hours += gpu_hours(plan, progress[i].seconds);
    const double left = is_over(states[i].state) ? 0 : steps_left(run, progress[i]);
    left_seconds += left * run.seconds;
    if (states[i].state == State::kDone) {
      measured_seconds += progress[i].seconds;
      predicted_seconds += run.seconds;
    }
  }
  const double slower = measured_seconds > 0 && predicted_seconds > 0 ? measured_seconds / predicted_seconds : 1;
  const double slots = std::max(1.0, static_cast<double>(plan.gpus * plan.jobs_per_gpu) / plan.ranks);
  totals.left_gpu_hours = gpu_hours(plan, left_seconds * slower);
  totals.left_seconds = left_seconds * slower / slots;
  return totals;
}

std::string status_json(const Plan& plan, const std::vector<Progress>& progress, const std::vector<RunState>& states) {
  const Totals totals = totals_of(plan, progress, states);
  Json json = {{"schema", 1}, {"dir", plan.dir}, {"cells", Json::object()}};
  for (size_t state = 0; state < kStates; ++state)
    json["cells"][state_name(static_cast<State>(state))] = totals.by_state[state];
  json["spent_gpu_hours"] = totals.spent_gpu_hours;
  json["planned_gpu_hours"] = totals.planned_gpu_hours;
  json["left_gpu_hours"] = totals.left_gpu_hours;
  json["left_seconds"] = totals.left_seconds;
  json["runs"] = Json::array();
  for (size_t i = 0; i < plan.runs.size(); ++i) {
    const PlannedRun& run = plan.runs[i];
    const Progress& p = progress[i];
    Json losses = Json::object();
    for (const auto& [set, loss] : p.eval_losses) losses[set] = loss;
    json["runs"].push_back({{"run_id", run.name},
                            {"kind", run.is_cell ? "cell" : "trunk"},
                            {"status", state_name(states[i].state)},
                            {"reason", states[i].reason},
                            {"step", p.step},
                            {"steps", run.steps},
                            {"train_loss", p.last_loss},
                            {"eval_losses", losses},
                            {"spent_gpu_hours", gpu_hours(plan, p.seconds)},
                            {"planned_gpu_hours", run.gpu_hours}});
  }
  return json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string status_table(const Plan& plan, const std::vector<Progress>& progress, const std::vector<RunState>& states) {
  size_t width = 8;
  for (const PlannedRun& run : plan.runs) width = std::max(width, run.name.size());
  std::string text = fmt::format("{:<{}} {:<8} {:>15} {:>8} {:>8} {:>8}\n", "run", width, "status", "steps", "loss",
                                 "spent", "planned");
  for (size_t i = 0; i < plan.runs.size(); ++i) {
    const PlannedRun& run = plan.runs[i];
    const Progress& p = progress[i];
    const bool validated = p.eval_step == run.steps && !p.eval_losses.empty();
    const std::string loss = validated ? fmt::format("{:.4f}", p.eval_losses.begin()->second) : "";
    text += fmt::format("{:<{}} {:<8} {:>15} {:>8} {:>8.4f} {:>8.4f}{}\n", run.name, width, state_name(states[i].state),
                        fmt::format("{}/{}", p.step, run.steps), loss, gpu_hours(plan, p.seconds), run.gpu_hours,
                        states[i].reason.empty() ? "" : "  " + shortened(states[i].reason));
  }
  const Totals totals = totals_of(plan, progress, states);
  const char* const unit = plan.on_gpu ? "GPU-hours" : "CPU-hours";
  return text + fmt::format(
                    "{} cells: {} done, {} running, {} failed, {} diverged, {} planned; {} {:.3g} spent of {:.3g} "
                    "planned, {:.3g} left, about {}\n",
                    plan.cells(), totals.count(State::kDone), totals.count(State::kRunning),
                    totals.count(State::kFailed), totals.count(State::kDiverged), totals.count(State::kPlanned), unit,
                    totals.spent_gpu_hours, totals.planned_gpu_hours, totals.left_gpu_hours,
                    clock(totals.left_seconds));
}

}  // namespace retain::study
