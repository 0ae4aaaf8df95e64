#include "trainer/run/metrics.h"

#include <fmt/core.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "kernels/core/error.h"

namespace retain {

namespace {

bool ends_inside_a_line(const std::string& path) {
  std::ifstream in(path, std::ios::binary | std::ios::ate);
  if (!in || in.tellg() <= 0) return false;
  in.seekg(-1, std::ios::end);
  return in.get() != '\n';
}

/// TensorBoard knows a value by the name that it has in metrics.jsonl.
Scalars scalars(const nlohmann::ordered_json& json) {
  Scalars result;
  for (const auto& [name, value] : json.items()) {
    if (name != "step") result.emplace_back(name, value.get<double>());
  }
  return result;
}

}  // namespace

Metrics::Metrics(const std::string& path, const std::string& tensorboard_folder) : tensorboard_(tensorboard_folder) {
  if (path.empty()) return;
  const bool torn = ends_inside_a_line(path);
  file_ = std::fopen(path.c_str(), "a");
  if (!file_) throw Error(ErrorKind::kCannotCreate, fmt::format("{}: {}", path, std::strerror(errno)));
  if (torn) append("");
}

Metrics::~Metrics() {
  if (file_) std::fclose(file_);
}

void Metrics::append(const std::string& line) {
  if (!file_) return;
  if (std::fputs((line + "\n").c_str(), file_) < 0 || std::fflush(file_) != 0) {
    throw Error(ErrorKind::kIo, fmt::format("metrics.jsonl: {}", std::strerror(errno)));
  }
}

void Metrics::record(const StepMetrics& m) {
  const nlohmann::ordered_json json = {{"step", m.step},
                                       {"tokens", m.tokens},
                                       {"loss", m.loss},
                                       {"grad_norm", m.grad_norm},
                                       {"lr", m.lr},
                                       {"tokens_per_second", m.tokens_per_second},
                                       {"mfu", m.mfu},
                                       {"memory_bytes", m.memory_bytes},
                                       {"step_seconds", m.step_seconds}};
  append(json.dump());
  tensorboard_.record(m.step, scalars(json));
}

void Metrics::record(int64_t step, const std::map<std::string, double>& values) {
  nlohmann::ordered_json json = {{"step", step}};
  for (const auto& [name, value] : values) json[name] = value;
  append(json.dump());
  tensorboard_.record(step, scalars(json));
}

void append_event(const std::string& path, int64_t step, const std::string& event,
                  const std::map<std::string, std::string>& values) {
  const auto now =
      std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch());
  nlohmann::ordered_json json = {{"time", now.count()}, {"step", step}, {"event", event}};
  for (const auto& [name, value] : values) json[name] = value;
  std::ofstream out(path, std::ios::app);
  out << json.dump() << '\n';
  if (!out.flush()) throw Error(ErrorKind::kIo, fmt::format("cannot write {}: {}", path, std::strerror(errno)));
}

std::string step_line(const StepMetrics& m, int64_t steps) {
  return fmt::format(
      "step={}/{} loss={:.4f} grad_norm={:.3f} lr={:.3e} tokens_per_second={:.0f} mfu={:.4f} step_seconds={:.4f}",
      m.step, steps, m.loss, m.grad_norm, m.lr, m.tokens_per_second, m.mfu, m.step_seconds);
}

}  // namespace retain
