#include "trainer/run/metrics.h"

#include <fmt/chrono.h>
#include <fmt/core.h>

#include <chrono>
#include <cmath>
#include <ctime>
#include <nlohmann/json.hpp>

#include "trainer/run/prometheus.h"
#include "trainer/run/run_directory.h"
#include "trainer/run/short_text.h"

namespace retain {

namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kFile = "metrics.jsonl";
constexpr std::chrono::seconds kBetweenPrometheus{5};  // which looks every 15 s or so

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

/// What of the costs is known, by the names of metrics.jsonl.
std::vector<std::pair<const char*, double>> known_costs(const StepCosts& costs) {
  std::vector<std::pair<const char*, double>> known;
  const auto add = [&](const char* name, const std::optional<double>& value) {
    if (value) known.emplace_back(name, *value);
  };
  add("data_share", costs.data_share);
  add("exchange_share", costs.exchange_share);
  add("watts", costs.watts);
  add("joules", costs.joules);
  add("clock_mhz", costs.clock_mhz);
  add("millijoules_per_token", costs.millijoules_per_token);
  return known;
}

/// What earlier files hold of steps after `step` is void.
ReportSink& new_tensorboard_file(Log& log, int64_t step) {
  const double now = wall_time();
  const std::string folder = "tensorboard";
  return log.append_to(folder + "/" + tensorboard_file_name(Path(log.directory()) / folder, now),
                       tensorboard_version(now) + tensorboard_start(now, step + 1), AppendedFile::Records::kBytes);
}

}  // namespace

Metrics::Metrics(Log& log, int64_t step, std::string prometheus)
    : log_(log),
      start_(last_start(RunDirectory(log.directory())) + 1),
      lines_(log.append_to(kFile, start_ > 1 ? resume_line(step, start_) : "")),
      tensorboard_(new_tensorboard_file(log, step)),
      prometheus_(std::move(prometheus)) {}

Metrics::~Metrics() { tell_prometheus(); }

void Metrics::tell_prometheus() {
  if (prometheus_ == kNoFile || newest_.empty()) return;
  log_.replace(prometheus_, prometheus_text(log_.directory(), newest_));
  told_ = std::chrono::steady_clock::now();
}

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
  for (const auto& [name, value] : known_costs(m.costs)) json[name] = value;
  write(m.step, signed_line(json, start_), scalars(json));
}

void Metrics::record(int64_t step, const Scalars& values) {
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
  if (prometheus_ == kNoFile) return;
  newest_["step"] = static_cast<double>(step);
  for (const auto& [name, value] : scalars) newest_[name] = value;
  newest_["time"] = wall_time();
  newest_["start"] = static_cast<double>(start_);
  if (!told_ || std::chrono::steady_clock::now() - *told_ >= kBetweenPrometheus) tell_prometheus();
}

std::string time_word() { return fmt::format("time={:%Y-%m-%dT%H:%M:%S%z}", fmt::localtime(std::time(nullptr))); }

std::string step_line(const StepMetrics& m, int64_t steps) {
  std::string line = fmt::format(
      "step={}/{} loss={:.4f} grad_norm={:.3f} lr={:.3e} tokens_per_second={:.0f}{} step_seconds={:.4f} tokens={} "
      "memory_bytes={}",
      m.step, steps, m.loss, m.grad_norm, m.lr, m.tokens_per_second, m.mfu ? fmt::format(" mfu={:.4f}", *m.mfu) : "",
      m.step_seconds, m.tokens, m.memory_bytes);
  const auto add = [&line](const char* name, const std::optional<double>& value, int decimals) {
    if (value) line += fmt::format(" {}={:.{}f}", name, *value, decimals);
  };
  add("data_share", m.costs.data_share, 4);
  add("exchange_share", m.costs.exchange_share, 4);
  add("watts", m.costs.watts, 0);
  add("clock_mhz", m.costs.clock_mhz, 0);
  add("millijoules_per_token", m.costs.millijoules_per_token, 3);
  if (m.seconds_left >= 0) line += concat(" eta=", compact_duration(m.seconds_left));
  return concat(line, " ", time_word());
}

}  // namespace retain
