// The thread that writes reports, so that training never waits for a disk or a terminal, nor ends because of one. What
// cannot be written is lost and counted; why, is said once, and once again when writing works again.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "trainer/run/report_sink.h"

namespace retain {

class ReportWriter {
 public:
  /// Called when writing to a sink begins to fail, and when it works again; from the thread, or from that of write().
  using Notice = std::function<void(const ReportSink&, const std::string& text)>;

  /// At most `limit_bytes` wait to be written; what comes when that is reached is lost.
  explicit ReportWriter(Notice notice, int64_t limit_bytes = int64_t{64} << 20);
  /// Waits a moment for what is queued: whoever must have it written calls flush() before.
  ~ReportWriter();
  ReportWriter(const ReportWriter&) = delete;
  ReportWriter& operator=(const ReportWriter&) = delete;

  /// The sink is the writer's from now on.
  ReportSink& add(std::unique_ptr<ReportSink> sink);
  /// Queues a record behind all others. Any thread.
  void write(ReportSink& sink, std::string record);
  /// Waits until everything that was queued before is written and durable, or has failed; false when that is not so in
  /// time. Any thread.
  bool flush(std::chrono::milliseconds patience);
  /// How many records of a sink are lost and why, as "N records were lost (…)"; empty when there are none. What waits
  /// to be written counts as lost: flush() comes before. Any thread.
  std::string losses(const ReportSink& sink) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace retain
