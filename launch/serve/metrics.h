// What a server has done, as Prometheus reads it. Any thread.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <utility>

#include "launch/serve/service.h"

namespace retain {

class ServeMetrics {
 public:
  /// A request was answered.
  void answered(const std::string& path, int status);
  /// A completion ended, or its client left: after so long in all, and until its first token, negative without one.
  void completed(double seconds, double first_token_seconds);

  /// Source: prometheus.io/docs/instrumenting/exposition_formats (text format 0.0.4).
  std::string text(const Service::State& state, int64_t slots, int64_t most_requests) const;

 private:
  static constexpr std::array kBounds = {0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0};  // seconds
  struct Histogram {
    std::array<int64_t, kBounds.size() + 1> counts{};
    double sum = 0;
    void add(double seconds);
    std::string text(const std::string& name) const;
  };

  mutable std::mutex mutex_;
  std::map<std::pair<std::string, int>, int64_t> answers_;
  Histogram request_seconds_, first_token_seconds_;
};

}  // namespace retain
