// A deadline for what all ranks do together: no rank can end another's waiting, but one that waits can say for whom.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

namespace retain::checkup {

class StageClock {
 public:
  /// `expired` is called once, on a thread of the clock's own, with the stage that has taken too long.
  explicit StageClock(std::function<void(const std::string& stage)> expired);
  ~StageClock();
  StageClock(const StageClock&) = delete;
  StageClock& operator=(const StageClock&) = delete;

  /// The stage before has ended, and this one has begun.
  void enter(const std::string& stage, std::chrono::milliseconds limit);
  /// Nothing is under way.
  void rest();

 private:
  void watch();

  std::function<void(const std::string& stage)> expired_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::string stage_;
  std::chrono::steady_clock::time_point until_ = std::chrono::steady_clock::time_point::max();
  bool over_ = false;
  std::thread thread_;
};

}  // namespace retain::checkup
