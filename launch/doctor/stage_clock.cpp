#include "launch/doctor/stage_clock.h"

#include <utility>

namespace retain::checkup {

using SteadyClock = std::chrono::steady_clock;

StageClock::StageClock(std::function<void(const std::string& stage)> expired)
    : expired_(std::move(expired)), thread_([this] { watch(); }) {}

StageClock::~StageClock() {
  {
    const std::lock_guard lock(mutex_);
    over_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void StageClock::enter(const std::string& stage, std::chrono::milliseconds limit) {
  {
    const std::lock_guard lock(mutex_);
    stage_ = stage;
    until_ = SteadyClock::now() + limit;
  }
  changed_.notify_all();
}

void StageClock::rest() {
  const std::lock_guard lock(mutex_);
  until_ = SteadyClock::time_point::max();
}

void StageClock::watch() {
  std::unique_lock lock(mutex_);
  while (!over_) {
    if (until_ == SteadyClock::time_point::max()) {
      changed_.wait(lock);
      continue;
    }
    const SteadyClock::time_point until = until_;
    changed_.wait_until(lock, until);
    if (over_ || SteadyClock::now() < until_) continue;
    over_ = true;
    const std::string stage = stage_;
    lock.unlock();
    expired_(stage);
    return;
  }
}

}  // namespace retain::checkup
