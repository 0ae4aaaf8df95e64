#include "trainer/study/results.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "trainer/study/queue.h"

namespace retain::study {
namespace {

using Json = nlohmann::ordered_json;

constexpr double kSecondsPerHour = 3600;
constexpr size_t kStates = 5;

/// Of one run's own steps.
double gpu_hours(const Plan& plan, double seconds) {
  return seconds / kSecondsPerHour * plan.ranks / plan.jobs_per_gpu;
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

double slowness(const Plan& plan, const std::vector<Progress>& progress) {
  double measured = 0, predicted = 0;
  for (size_t i = 0; i < plan.runs.size(); ++i) {
    if (!progress[i].done) continue;
    measured += progress[i].seconds;
    predicted += plan.runs[i].seconds;
  }
  return measured > 0 && predicted > 0 ? measured / predicted : 1;
}

Totals totals_of(const Plan& plan, const std::vector<Progress>& progress, const std::vector<RunState>& states) {
  Totals totals{.by_state = std::vector<int64_t>(kStates, 0), .planned_gpu_hours = plan.gpu_hours()};
  const std::vector<bool> needed = needed_runs(plan, states);
  double left_seconds = 0;
  for (size_t i = 0; i < plan.runs.size(); ++i) {
    const PlannedRun& run = plan.runs[i];
    if (run.is_cell) ++totals.by_state.at(static_cast<size_t>(states[i].state));
    totals.spent_gpu_hours += gpu_hours(plan, progress[i].seconds);
    if (needed[i]) left_seconds += seconds_left(run, progress[i]);
  }
  const double slower = slowness(plan, progress);
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
