// What a run measures: metrics.jsonl (one object a line, appended across restarts), the same for TensorBoard, and the
// step line on stdout. Rank 0 only writes.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "trainer/run/log.h"
#include "trainer/run/slow_ranks.h"
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
};

class Metrics {
 public:
  /// Of a run that goes on after `step`, through the log, which outlives it, into the log's directory. Each line
  /// carries "time", in Unix seconds, and "start", the number of this start of the run. Where there are lines of
  /// earlier starts, the first one written is
  /// {"step": step, "resume": true, "start": n}: lines before it of later steps are void.
  Metrics(Log& log, int64_t step);

  void record(const StepMetrics& metrics);
  /// The run goes back to this step: lines before of later steps are void, which a line like that of a start says.
  void go_back(int64_t step);
  /// `valid/<set>/loss` and so on at a step.
  void record(int64_t step, const std::map<std::string, double>& values);

 private:
  void write(int64_t step, const std::string& line, const Scalars& scalars);

  Log& log_;
  int64_t start_;
  ReportSink &lines_, &tensorboard_;
};

/// "step=10/250 loss=3.1415 grad_norm=1.02 lr=6.00e-04 tokens_per_second=51234 mfu=0.412 step_seconds=0.321"
std::string step_line(const StepMetrics& metrics, int64_t steps);

}  // namespace retain
