// What a run measures: metrics.jsonl (one object a line, appended across restarts), the same for TensorBoard, and the
// step line on stdout. Rank 0 only writes.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "trainer/config.h"
#include "trainer/run/log.h"
#include "trainer/run/slow_ranks.h"
#include "trainer/run/step_costs.h"
#include "trainer/run/tensorboard.h"

namespace retain {

/// What one optimizer step reports.
struct StepMetrics {
  int64_t step = 0;    ///< finished updates
  int64_t tokens = 0;  ///< trained so far
  double loss = 0, grad_norm = 0, lr = 0;
  double tokens_per_second = 0;
  std::optional<double> mfu = {};  ///< nothing where the device's peak is unknown
  int64_t memory_bytes = 0;
  double step_seconds = 0;
  std::optional<SlowestRank> slowest = {};  ///< of the steps in which that was measured
  StepCosts costs = {};                     ///< likewise
  double seconds_left = -1;                 ///< of the run, by its newest pace; negative: not known
};

class Metrics {
 public:
  /// Of a run that goes on after `step`, through the log, which outlives it, into the log's directory. Each line
  /// carries "time", in Unix seconds, and "start", the number of this start of the run. Where there are lines of
  /// earlier starts, the first one written is
  /// {"step": step, "resume": true, "start": n}: lines before it of later steps are void.
  /// `prometheus`: LogConfig::prometheus.
  Metrics(Log& log, int64_t step, std::string prometheus = kNoFile);
  ~Metrics();  ///< the last values are in its file
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;

  void record(const StepMetrics& metrics);
  /// The run goes back to this step: lines before of later steps are void, which a line like that of a start says.
  void go_back(int64_t step);
  /// `valid/<set>/loss` and so on at a step.
  void record(int64_t step, const Scalars& values);

 private:
  void write(int64_t step, const std::string& line, const Scalars& scalars);
  void tell_prometheus();

  Log& log_;
  int64_t start_;
  ReportSink &lines_, &tensorboard_;
  std::string prometheus_;
  std::map<std::string, double> newest_;                       ///< values
  std::optional<std::chrono::steady_clock::time_point> told_;  ///< Prometheus
};

/// "step=10/250 loss=3.1415 grad_norm=1.020 lr=6.000e-04 tokens_per_second=51234 mfu=0.4120 step_seconds=0.3210
/// tokens=163840 memory_bytes=1073741824 data_share=0.0002 exchange_share=0.0312 watts=1310 clock_mhz=1755
/// millijoules_per_token=25.569 eta=1m17s time=2026-01-31T23:59:59+0100", of these what is known.
std::string step_line(const StepMetrics& metrics, int64_t steps);
/// "time=2026-01-31T23:59:59+0100": now, as lines end.
std::string time_word();

}  // namespace retain
