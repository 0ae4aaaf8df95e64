#include "launch/serve/service.h"

#include <algorithm>
#include <utility>

namespace retain {

Service::Service(Engine& engine, int64_t most_requests)
    : engine_(engine), most_requests_(most_requests), thread_([this] { run(); }) {}

Service::~Service() {
  {
    const std::lock_guard lock(mutex_);
    over_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

Service::Stay::Stay(Service& service, std::vector<Sequence*> sequences)
    : service_(service), sequences_(std::move(sequences)) {
  const std::lock_guard lock(service_.mutex_);
  entry_ = service_.refusing_ || service_.failure_               ? Entry::kEnding
           : service_.state_.requests >= service_.most_requests_ ? Entry::kFull
                                                                 : Entry::kTaken;
  if (entry_ != Entry::kTaken) return;
  has_place_ = true;
  ++service_.state_.requests;
  service_.coming_.insert(service_.coming_.end(), sequences_.begin(), sequences_.end());
  service_.changed_.notify_all();
}

Service::Stay::~Stay() {
  if (entry_ != Entry::kTaken) return;
  std::unique_lock lock(service_.mutex_);
  service_.leaving_.insert(service_.leaving_.end(), sequences_.begin(), sequences_.end());
  service_.changed_.notify_all();
  const auto here = [this](Sequence* one) {
    return std::ranges::find(service_.leaving_, one) != service_.leaving_.end();
  };
  // Also of an engine that has failed: its thread may still be at one of them.
  service_.changed_.wait(lock, [&] { return std::ranges::none_of(sequences_, here); });
  free_place();
}

void Service::Stay::leave_place() {
  const std::lock_guard lock(service_.mutex_);
  free_place();
}

void Service::Stay::free_place() {
  if (!std::exchange(has_place_, false)) return;
  --service_.state_.requests;
  service_.changed_.notify_all();
}

Service::State Service::state() const {
  const std::lock_guard lock(mutex_);
  return state_;
}

void Service::refuse_more() {
  const std::lock_guard lock(mutex_);
  refusing_ = true;
}

bool Service::wait_until_empty(std::chrono::milliseconds limit) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, limit, [this] { return state_.requests == 0; });
}

std::optional<Outcome> Service::failure() const {
  const std::lock_guard lock(mutex_);
  return failure_;
}

void Service::end_all(const std::string& reason) {
  const std::lock_guard lock(mutex_);
  failure_ = Outcome{.ok = false, .kind = ErrorKind::kInternal, .message = reason};
  changed_.notify_all();
}

void Service::exchange() {
  for (Sequence* one : coming_) engine_.add(*one);
  for (const Sequence* one : leaving_) engine_.remove(*one);
  coming_.clear();
  leaving_.clear();
  changed_.notify_all();
}

void Service::run() {
  bool busy = false, ended = false;
  for (;;) {
    std::optional<Outcome> failure;
    {
      std::unique_lock lock(mutex_);
      state_.waiting_sequences = engine_.waiting();
      state_.active_sequences = engine_.active();
      state_.counts = engine_.counts();
      changed_.wait(lock,
                    [&] { return over_ || busy || !coming_.empty() || !leaving_.empty() || (failure_ && !ended); });
      if (over_) return;
      exchange();
      failure = failure_;
    }
    if (failure) {
      engine_.end_all(failure->message);
      ended = true;
      busy = false;
      continue;
    }
    const Outcome outcome = attempt([&] { busy = engine_.advance(); });
    if (outcome.ok) continue;
    const std::lock_guard lock(mutex_);
    failure_ = outcome;
  }
}

}  // namespace retain
