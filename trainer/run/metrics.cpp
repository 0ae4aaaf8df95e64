#include "trainer/run/metrics.h"

#include <fmt/core.h>

#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>

#include "trainer/run/run_directory.h"

namespace retain {

namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kFile = "metrics.jsonl";

/// The number of the last start that wrote lines into the file; 0 if none did, 1 for lines of versions that did not
/// count.
int64_t last_start(const RunDirectory& directory) {
  const std::vector<std::string> lines = directory.last_lines(kFile);
  int64_t last = lines.empty() ? 0 : 1;
  for (const std::string& line : lines) {
    const auto json = nlohmann::json::parse(line, nullptr, false);
    if (json.is_object() && json.contains("start") && json["start"].is_number_integer()) last = json["start"];
  }
  return last;
}

/// TensorBoard knows a value by the name that it has in metrics.jsonl.
Scalars scalars(const Json& json) {
  Scalars result;
  for (const auto& [name, value] : json.items()) {
    if (name != "step") result.emplace_back(name, value.get<double>());
  }
  return result;
}

std::string resume_line(int64_t step, int64_t start) {
  return Json{{"step", step}, {"resume", true}, {"start", start}}.dump() + "\n";
}

/// Unix seconds.
double wall_time() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

/// When, to the millisecond, and by which start.
std::string signed_line(Json json, int64_t start) {
  json["time"] = std::round(wall_time() * 1000) / 1000;
  json["start"] = start;
  return json.dump();
}

/// What earlier files hold of steps after `step` is void.
ReportSink& new_tensorboard_file(Log& log, int64_t step) {
  const double now = wall_time();
  const std::string folder = "tensorboard";
  return log.append_to(folder + "/" + tensorboard_file_name(Path(log.directory()) / folder, now),
                       tensorboard_version(now) + tensorboard_start(now, step + 1), AppendedFile::Records::kBytes);
}

}  // namespace

Metrics::Metrics(Log& log, int64_t step)
    : log_(log),
      start_(last_start(RunDirectory(log.directory())) + 1),
      lines_(log.append_to(kFile, start_ > 1 ? resume_line(step, start_) : "")),
      tensorboard_(new_tensorboard_file(log, step)) {}

void Metrics::record(const StepMetrics& m) {
  Json json = {{"step", m.step},           {"tokens", m.tokens}, {"loss", m.loss},
               {"grad_norm", m.grad_norm}, {"lr", m.lr},         {"tokens_per_second", m.tokens_per_second}};
  if (m.mfu) json["mfu"] = *m.mfu;
  json["memory_bytes"] = m.memory_bytes;
  json["step_seconds"] = m.step_seconds;
  if (m.slowest) {
    json["slowest_rank"] = m.slowest->rank;
    json["slowest_ratio"] = m.slowest->ratio;
  }
  write(m.step, signed_line(json, start_), scalars(json));
}

void Metrics::record(int64_t step, const std::map<std::string, double>& values) {
  Json json = {{"step", step}};
  for (const auto& [name, value] : values) json[name] = value;
  write(step, signed_line(json, start_), scalars(json));
}

void Metrics::go_back(int64_t step) {
  log_.files().write(lines_, resume_line(step, start_));
  log_.files().write(tensorboard_, tensorboard_start(wall_time(), step + 1));
}

void Metrics::write(int64_t step, const std::string& line, const Scalars& scalars) {
  log_.files().write(lines_, line + "\n");
  log_.files().write(tensorboard_, tensorboard_scalars(wall_time(), step, scalars));
}

std::string step_line(const StepMetrics& m, int64_t steps) {
  return fmt::format("step={}/{} loss={:.4f} grad_norm={:.3f} lr={:.3e} tokens_per_second={:.0f}{} step_seconds={:.4f}",
                     m.step, steps, m.loss, m.grad_norm, m.lr, m.tokens_per_second,
                     m.mfu ? fmt::format(" mfu={:.4f}", *m.mfu) : "", m.step_seconds);
}

}  // namespace retain
