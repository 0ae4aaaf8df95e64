// What a run has reported so far, from metrics.jsonl and events.jsonl of its directory alone: also while it goes on,
// and for a reader that may not write there.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace retain {

struct HistoryPoint {
  int64_t step = 0, tokens = 0;
  double time = 0;    ///< Unix seconds
  int64_t start = 1;  ///< the number of the start of the run that reported it
  double value = 0;
};

struct HistoryEvent {
  double time = 0;  ///< Unix seconds
  int64_t step = 0;
  std::string kind;
  std::map<std::string, std::string> values;
};

class RunHistory {
 public:
  explicit RunHistory(std::string directory);

  /// Reads what was appended since the last time; everything again where a file was replaced. Lines that are cut off or
  /// no JSON are left for later or out. Throws Error(kMissingInput) when the run has no metrics.jsonl and no
  /// events.jsonl, Error(kIo).
  void refresh();

  const std::string& directory() const { return directory_; }
  /// By the names of metrics.jsonl, in the order of their steps: what a run that went back to an earlier step had
  /// reported of later ones is void.
  const std::map<std::string, std::vector<HistoryPoint>>& series() const { return series_; }
  /// Of a name that may have none.
  const std::vector<HistoryPoint>& series(const std::string& name) const;
  const std::vector<HistoryEvent>& events() const { return events_; }

 private:
  /// The lines that a file has got since they were asked for.
  class Tail {
   public:
    explicit Tail(std::string path) : path_(std::move(path)) {}
    /// Lines are appended to `lines`. False where there is no file. `anew` becomes true when it is another than before.
    bool read(std::vector<std::string>& lines, bool& anew);

   private:
    std::string path_;
    int64_t read_bytes_ = 0;
    uint64_t inode_ = 0;
  };
  void take_metrics(const std::string& line);
  void take_event(const std::string& line);

  std::string directory_;
  Tail metrics_, events_file_;
  std::map<std::string, std::vector<HistoryPoint>> series_;
  std::vector<HistoryEvent> events_;
};

}  // namespace retain
