#include "trainer/study/run_state.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "trainer/checkpoint/lock.h"
#include "trainer/run/run_directory.h"
#include "trainer/run/training_run.h"

namespace retain::study {
namespace {

using nlohmann::json;

constexpr size_t kNewestLosses = 10;
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
const int kDivergedCode = static_cast<int>(ErrorKind::kDiverged);

/// A number, or NaN: JSON has no numbers that are not finite, and writes null for them.
double number(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_number() ? found->get<double>() : kNan;
}

double median(std::vector<double> values) {
  if (values.empty()) return kNan;
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

json read_json(const std::string& path) {
  std::ifstream in(path);
  return in ? json::parse(in, nullptr, false) : json();
}

/// What metrics.jsonl says; lines of steps that a later start did again are taken back.
class MetricsReader {
 public:
  void take(const json& line) {
    const int64_t step = line.value("step", int64_t{0});
    if (line.contains("resume")) {
      std::erase_if(losses_, [&](const auto& entry) { return entry.first > step; });
      std::erase_if(evals_, [&](const auto& entry) { return entry.first > step; });
      return;
    }
    if (line.contains("step_seconds")) {
      const double seconds = number(line, "step_seconds");
      const int64_t start = line.value("start", int64_t{1});
      seconds_ += seconds;
      if (start == last_start_) step_seconds_.push_back(seconds);
      last_start_ = start;
      losses_[step] = number(line, "loss");
    }
    constexpr std::string_view kPrefix = "valid/", kSuffix = "/loss";
    for (const auto& [key, value] : line.items()) {
      if (key.starts_with(kPrefix) && key.ends_with(kSuffix))
        evals_[step][key.substr(kPrefix.size(), key.size() - kPrefix.size() - kSuffix.size())] =
            value.is_number() ? value.get<double>() : kNan;
    }
  }

  void put_into(Progress& progress) const {
    progress.seconds = seconds_;
    progress.median_step_seconds = median(step_seconds_);
    if (!evals_.empty()) {
      progress.eval_step = evals_.rbegin()->first;
      progress.eval_losses = evals_.rbegin()->second;
    }
    if (losses_.empty()) return;
    progress.step = losses_.rbegin()->first;
    progress.first_loss = losses_.begin()->second;
    std::vector<double> newest;
    for (auto at = losses_.rbegin(); at != losses_.rend() && newest.size() < kNewestLosses; ++at)
      newest.push_back(at->second);
    const bool finite = std::ranges::all_of(newest, [](double loss) { return std::isfinite(loss); });
    progress.last_loss = finite ? median(newest) : kNan;
  }

 private:
  std::map<int64_t, double> losses_;
  std::map<int64_t, std::map<std::string, double>> evals_;
  std::vector<double> step_seconds_;
  double seconds_ = 0;
  int64_t last_start_ = -1;
};

void read_metrics(const std::string& path, Progress& progress) {
  MetricsReader reader;
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);) {
    const json object = json::parse(line, nullptr, false);
    if (object.is_object()) reader.take(object);  // the last line of a killed run may be a part of one
  }
  reader.put_into(progress);
}

int error_code_of(const std::vector<std::string>& events) {
  if (events.empty()) return 0;
  const json event = json::parse(events.back(), nullptr, false);
  if (!event.is_object() || event.value("event", "") != "error" || !event.contains("code")) return 0;
  const json& code = event["code"];
  return code.is_number_integer() ? code.get<int>() : code.is_string() ? std::atoi(code.get<std::string>().c_str()) : 0;
}

std::string joined(const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& line : lines) text += (text.empty() ? "" : " ") + line;
  return text;
}

RunState diverged(std::string reason) { return {State::kDiverged, std::move(reason)}; }

}  // namespace

const char* state_name(State state) {
  switch (state) {
    case State::kPlanned: return "planned";
    case State::kRunning: return "running";
    case State::kDone: return "done";
    case State::kFailed: return "failed";
    case State::kDiverged: return "diverged";
  }
  return "";
}

Progress read_progress(const std::string& run_directory) {
  const RunDirectory directory(run_directory);
  Progress progress{.first_loss = kNan, .last_loss = kNan, .median_step_seconds = kNan};
  progress.done = directory.has("DONE");
  progress.running = is_locked(run_directory);
  progress.failed = joined(directory.last_lines("FAILED"));
  progress.error_code = error_code_of(directory.last_lines("events.jsonl"));
  const json ending = read_json(directory.file(kEndingFile));
  if (ending.is_object()) progress.ending = {ending.value("exit_code", 0), ending.value("reason", "")};
  const json environment = read_json(directory.file("environment.json"));
  if (environment.is_object()) {
    progress.build = environment.value("version", "") + " (" + environment.value("commit", "") + ")";
    progress.device = environment.value("device", "");
  }
  read_metrics(directory.file("metrics.jsonl"), progress);
  return progress;
}

RunState judge(const Progress& p, double start_loss) {
  if (p.running) return {State::kRunning, ""};
  if (p.done) {
    for (const auto& [set, loss] : p.eval_losses)
      if (!std::isfinite(loss)) return diverged("its loss on " + set + " is not finite");
    if (!std::isfinite(p.last_loss)) return diverged("its training loss is not finite");
    if (p.last_loss > start_loss)
      return diverged(
          fmt::format("its training loss ends at {:.4g}, above the {:.4g} of its start", p.last_loss, start_loss));
    return {State::kDone, ""};
  }
  const int code = p.ending ? p.ending->exit_code : p.error_code;
  const std::string& reason = p.ending ? p.ending->reason : p.failed;
  if (code == kDivergedCode) return diverged(reason);
  if (code != 0 && code != kStoppedOnRequest) return {State::kFailed, fmt::format("exit {}: {}", code, reason)};
  return {State::kPlanned, ""};
}

std::vector<RunState> states_of(const Plan& plan, const std::vector<Progress>& progress) {
  std::vector<RunState> states;
  std::vector<double> start_losses;
  for (size_t i = 0; i < plan.runs.size(); ++i) {
    const std::string& parent = plan.runs[i].parent;
    const size_t from = parent.empty() ? i : plan.index_of(parent);  // comes before
    start_losses.push_back(from == i ? progress[i].first_loss : start_losses[from]);
    RunState state = judge(progress[i], start_losses[i]);
    if (from != i && state.state != State::kDone && state.state != State::kDiverged) {
      if (states[from].state == State::kDiverged) state = diverged("it starts from " + parent + ", which diverged");
      if (states[from].state == State::kFailed) state.reason = "it starts from " + parent + ", which failed";
    }
    states.push_back(state);
  }
  return states;
}

double seconds_left(const PlannedRun& run, const Progress& progress) {
  const auto left = static_cast<double>(run.steps - std::max(run.first_step, progress.step));
  return run.seconds * left / static_cast<double>(std::max<int64_t>(1, run.steps - run.first_step));
}

std::string ending_json(const Ending& ending) {
  return nlohmann::ordered_json{{"exit_code", ending.exit_code}, {"reason", ending.reason}}.dump(
             -1, ' ', false, json::error_handler_t::replace) +
         "\n";
}

}  // namespace retain::study
