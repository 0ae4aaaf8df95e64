// What a run measures: metrics.jsonl (one object a line, appended across restarts), the same for TensorBoard, and the
// step line on stdout. Rank 0 only writes.
#pragma once

#include <cstdio>
#include <map>
#include <string>

#include "trainer/run/tensorboard.h"

namespace retain {

/// What one optimizer step reports.
struct StepMetrics {
  int64_t step = 0;    ///< finished updates
  int64_t tokens = 0;  ///< trained so far
  double loss = 0, grad_norm = 0, lr = 0;
  double tokens_per_second = 0, mfu = 0;
  int64_t memory_bytes = 0;
  double step_seconds = 0;
};

class Metrics {
 public:
  /// Appends to `path`; a line torn by a crash is closed first. A run that resumes repeats the lines of the steps after
  /// its checkpoint, with equal losses. Empty paths write nothing (other ranks).
  Metrics(const std::string& path, const std::string& tensorboard_folder);
  ~Metrics();
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;

  void record(const StepMetrics& metrics);
  /// `valid/<set>/loss` and so on at a step.
  void record(int64_t step, const std::map<std::string, double>& values);

 private:
  void append(const std::string& line);
  std::FILE* file_ = nullptr;
  TensorBoard tensorboard_;
};

/// Appends {"time", "step", "event", values…} to events.jsonl.
void append_event(const std::string& path, int64_t step, const std::string& event,
                  const std::map<std::string, std::string>& values);

/// "step=10/250 loss=3.1415 grad_norm=1.02 lr=6.00e-04 tokens_per_second=51234 mfu=0.412 step_seconds=0.321"
std::string step_line(const StepMetrics& metrics, int64_t steps);

}  // namespace retain
