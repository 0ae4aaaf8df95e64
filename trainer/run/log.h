// What a run says: lines for people on stderr and in log.txt, step lines on stdout, records for tools in files of the
// run directory. Rank 0 says what all ranks know; the others only what they alone know, signed with rank and host. All
// of it is written by threads, for the files, for stdout and for stderr, in the order in which it was said on each:
// training waits for none and ends because of none, and one that stands holds no other back. Bytes that could steer a
// terminal or forge a line are written as escapes.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "kernels/core/error.h"
#include "trainer/run/report_writer.h"

namespace retain {

enum class LogLevel : uint8_t { kInfo, kWarn, kError };

struct LogOptions {
  int world_rank = 0;
  std::string host = {};
  std::string directory = {};  ///< of the run; empty: nothing but stdout and stderr
  bool held = false;           ///< log.txt says nothing before release(): a start may yet be refused
};

class Log {
 public:
  explicit Log(const LogOptions& options);
  /// Waits a moment for what is still to be written: whoever must have it there calls flush() before.
  ~Log();
  Log(const Log&) = delete;
  Log& operator=(const Log&) = delete;

  // One line of the parts, one after the other, of what all ranks know: rank 0 says it.
  template <class... Parts>
  void info(const Parts&... parts) {
    if (first_) say(LogLevel::kInfo, concat(parts...));
  }
  template <class... Parts>
  void warn(const Parts&... parts) {
    if (first_) say(LogLevel::kWarn, concat(parts...));
  }
  template <class... Parts>
  void error(const Parts&... parts) {
    if (first_) say(LogLevel::kError, concat(parts...));
  }

  /// What was said stands in log.txt too from here on.
  void release();
  /// A line on stdout; rank 0 alone calls it.
  void print(const std::string& line);
  bool is_first() const { return first_; }  ///< rank 0
  /// Of the terminal that stderr is, or stdout; 0 where neither can have a line at its bottom.
  int columns_at_bottom() const;
  /// Text, without control characters, at the bottom of that terminal, under all that scrolls there; "" removes it. Any
  /// thread, until the end is said.
  void show_at_bottom(const std::string& text);
  /// Why the program ends: the line as it is on stderr, any rank. Waits until it is there, though not longer than
  /// given, nor for any disk …
  void say_end(const std::string& line, std::chrono::milliseconds patience);
  /// … and in log.txt, on any rank: one that ends the job writes there and into events.jsonl from here on.
  void record_end(const std::string& line);
  /// Appends {"time", "step", "event", values…} to events.jsonl, on rank 0 (and after record_end() on any).
  void event(int64_t step, const std::string& kind, const std::map<std::string, std::string>& values);

  /// A file of the run directory, to which files() writes (AppendedFile).
  ReportSink& append_to(const std::string& name, const std::string& opening = {},
                        AppendedFile::Records records = AppendedFile::Records::kLines);
  /// Replaces a small file of the run directory, durably. Any rank, its own files.
  void replace(const std::string& name, const std::string& text);
  ReportWriter& files() { return files_; }
  const std::string& directory() const { return directory_; }

  /// Waits until all that was said is written and durable, or has failed; false when that is not so in time. Any
  /// thread.
  bool flush(std::chrono::milliseconds patience);
  /// Says what could not be written of all that was said; false when files of the run lack something. What stdout got
  /// is in metrics.jsonl too. After flush().
  bool all_written();

 private:
  void say(LogLevel level, const std::string& text, const ReportSink* failing = nullptr);
  /// Of the stream of this descriptor, if it is the terminal with a line at its bottom.
  const BottomLine* bottom_under(int descriptor) const;
  ReportWriter& writer_of_bottom();
  bool hold(const std::string& line);  ///< false where it is to be written

  bool first_;
  std::string signature_;  ///< of ranks other than 0
  std::string directory_;
  std::atomic<bool> closing_{false};
  std::mutex held_mutex_;  ///< the writing threads have a word too
  bool held_;
  std::vector<std::string> held_lines_;
  int bottom_descriptor_;  ///< of the terminal that may have a line at its bottom
  BottomLine bottom_line_;
  std::atomic<bool> ending_{false};  ///< nothing is at the bottom any more
  ReportWriter err_, out_, files_;
  ReportWriter& errors_;  ///< writes to stderr: out_ where both are one terminal, which keeps their order
  ReportSink &stdout_, &stderr_, &bottom_;
  std::map<std::string, ReportSink*> sinks_;       ///< the files, by their names
  ReportSink *log_ = nullptr, *events_ = nullptr;  ///< rank 0's, or whose end it is
};

}  // namespace retain
