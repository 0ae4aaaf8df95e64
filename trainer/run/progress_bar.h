// How far something is that takes long: a line at the bottom of the terminal, never more than one, and a plain line
// where nothing else was said for a minute. A thread of its own shows it, so that it is seen too while the work stands.
// On rank 0; elsewhere it does nothing.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "trainer/run/log.h"

namespace retain {

/// Some work, as far as it is.
struct WorkState {
  std::string what;             ///< "training", "first step"
  std::string unit = "step";    ///< "bytes", "tokens"; of the counts
  int64_t done = 0, total = 0;  ///< total 0: nobody knows
  std::string more = {};        ///< for the bar: "loss 2.813"
  double per_second = 0;        ///< by its newest pace; 0: not known
  double unchanged_seconds = 0;

  double seconds_left() const;  ///< -1: not known
};

/// "preparing [#####-----] 1.20GB/25.0GB 4.8% 160MB/s eta 3h12m", in less than so many columns.
std::string bar_text(const WorkState& work, int columns);
/// Of works one within the other, the outermost first: "step=119/400 doing=validating tokens=5000/20000
/// tokens_per_second=512000 eta=3s unchanged_seconds=0".
std::string progress_line(const std::vector<WorkState>& works);

struct ProgressBarOptions {
  bool bar = true;                                   ///< where there is a terminal for it
  std::chrono::milliseconds silence{60'000};         ///< after which a line says how far the work is
  std::function<void(const std::string&)> say = {};  ///< such a line; Log::info where nothing is given
};

class ProgressBar {
 public:
  using Clock = std::chrono::steady_clock;

  /// The log outlives it.
  explicit ProgressBar(Log& log, ProgressBarOptions options = {});
  /// The bar is gone.
  ~ProgressBar();
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  /// For as long as it lives, what is shown; work that begins inside of it goes before it. Of one thread.
  class Work {
   public:
    Work(ProgressBar& progress, WorkState state);
    ~Work();
    Work(const Work&) = delete;
    Work& operator=(const Work&) = delete;

    /// How much is done now, and what else the bar says.
    void at(int64_t done, std::string more = {});
    WorkState state() const;  ///< with its pace

   private:
    friend class ProgressBar;
    WorkState state_at(Clock::time_point now) const;

    ProgressBar& progress_;
    WorkState state_;
    Clock::time_point begun_ = Clock::now();
    std::deque<std::pair<Clock::time_point, int64_t>> newest_;  ///< when how much was done, the beginning first
  };

  /// A line about the work was said elsewhere: the next one is due a minute later.
  void spoke();
  double silent_seconds() const;  ///< since then

 private:
  void show();
  std::vector<WorkState> works() const;
  WorkState shown() const;  ///< the innermost, if it has lasted for a moment

  Log& log_;
  ProgressBarOptions options_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Work*> works_;  ///< the outermost first
  Clock::time_point spoke_ = Clock::now();
  bool closing_ = false;
  std::thread thread_;
};

}  // namespace retain
