#include "launch/serve/metrics.h"

#include <fmt/core.h>

#include <algorithm>

namespace retain {

namespace {

std::string type_line(const std::string& name, const char* type) {
  return fmt::format("# TYPE retain_serve_{} {}\n", name, type);
}

template <class Number>
std::string value(const std::string& name, const char* type, Number number) {
  return type_line(name, type) + fmt::format("retain_serve_{} {}\n", name, number);
}

}  // namespace

void ServeMetrics::Histogram::add(double seconds) {
  const auto bucket = std::ranges::lower_bound(kBounds, seconds) - kBounds.begin();
  ++counts[static_cast<size_t>(bucket)];
  sum += seconds;
}

std::string ServeMetrics::Histogram::text(const std::string& name) const {
  std::string lines = type_line(name, "histogram");
  int64_t count = 0;
  for (size_t i = 0; i < counts.size(); ++i) {
    count += counts[i];
    const std::string bound = i < kBounds.size() ? fmt::format("{}", kBounds[i]) : "+Inf";
    lines += fmt::format("retain_serve_{}_bucket{{le=\"{}\"}} {}\n", name, bound, count);
  }
  return lines + fmt::format("retain_serve_{0}_sum {1}\nretain_serve_{0}_count {2}\n", name, sum, count);
}

void ServeMetrics::answered(const std::string& path, int status) {
  const std::lock_guard lock(mutex_);
  ++answers_[{path, status}];
}

void ServeMetrics::completed(double seconds, double first_token_seconds) {
  const std::lock_guard lock(mutex_);
  request_seconds_.add(seconds);
  if (first_token_seconds >= 0) first_token_seconds_.add(first_token_seconds);
}

std::string ServeMetrics::text(const Service::State& state, int64_t slots, int64_t most_requests) const {
  const std::lock_guard lock(mutex_);
  std::string lines = type_line("requests_total", "counter");
  for (const auto& [answer, count] : answers_)
    lines += fmt::format("retain_serve_requests_total{{path=\"{}\",status=\"{}\"}} {}\n", answer.first, answer.second,
                         count);
  lines += value("requests", "gauge", state.requests) + value("requests_limit", "gauge", most_requests);
  lines += value("sequences_waiting", "gauge", state.waiting_sequences);
  lines += value("sequences_active", "gauge", state.active_sequences) + value("slots", "gauge", slots);
  lines += value("prompt_tokens_total", "counter", state.counts.prompt_tokens);
  lines += value("prompt_seconds_total", "counter", state.counts.prompt_seconds);
  lines += value("drawn_tokens_total", "counter", state.counts.drawn_tokens);
  lines += value("steps_total", "counter", state.counts.steps);
  lines += value("step_seconds_total", "counter", state.counts.step_seconds);
  return lines + request_seconds_.text("request_seconds") + first_token_seconds_.text("first_token_seconds");
}

}  // namespace retain
