#include "kernels/core/activity.h"

#include <algorithm>
#include <utility>

namespace retain {

namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

// Who waits long is late by no more than a five-hundredth.
constexpr milliseconds kLongWait{250};
constexpr microseconds kRest{50}, kLongRest{500};
// Questions cost microseconds.
constexpr milliseconds kBetweenQuestions{10};

}  // namespace

Activity::View Activity::view() const {
  View view;
  view.signs = signs_.load(std::memory_order_relaxed);
  view.collectives = collectives_.load(std::memory_order_relaxed);
  view.step = step_.load(std::memory_order_relaxed);
  for (int i = std::min(depth_.load(std::memory_order_relaxed), kDepth); i > 0 && !*view.host.phase; --i) {
    const char* const name = phases_[static_cast<size_t>(i - 1)].load(std::memory_order_relaxed);
    if (name) view.host.phase = name;
  }
  view.host.layer = layer_.load(std::memory_order_relaxed);
  view.device = {device_phase_.load(std::memory_order_relaxed), device_layer_.load(std::memory_order_relaxed)};
  view.waits_for = waits_for_.load(std::memory_order_relaxed);
  view.waits_in = waits_in_.load(std::memory_order_relaxed);
  view.waits_for_ranks = view.waits_for == WaitsFor::kRanks || exchanging_.load(std::memory_order_relaxed) > 0;
  view.patient = long_works_.load(std::memory_order_relaxed) > 0;
  view.gpu = gpu_.load(std::memory_order_relaxed);
  return view;
}

void Activity::begin_phase(const char* name) {
  const int depth = depth_.fetch_add(1, std::memory_order_relaxed);
  if (depth < kDepth) phases_[static_cast<size_t>(depth)].store(name, std::memory_order_relaxed);
}

void Activity::end_phase() {
  depth_.fetch_sub(1, std::memory_order_relaxed);
  at_layer(-1);
  progress();
}

void Activity::device_at(const Place& place) {
  device_phase_.store(place.phase, std::memory_order_relaxed);
  device_layer_.store(place.layer, std::memory_order_relaxed);
}

void Activity::rest(Clock::duration waited) {
  if (waited > kBetweenQuestions && Clock::now().time_since_epoch() - asked_.load() > kBetweenQuestions) ask();
  std::this_thread::sleep_for(waited > kLongWait ? kLongRest : kRest);
}

void Activity::ask() {
  const std::unique_lock lock(questions_mutex_, std::try_to_lock);
  if (!lock) return;
  asked_.store(Clock::now().time_since_epoch());
  for (const std::function<void()>& question : questions_) question();
}

Activity::Question::Question(Activity& activity, std::function<void()> ask) : activity_(activity) {
  const std::lock_guard lock(activity_.questions_mutex_);
  at_ = activity_.questions_.insert(activity_.questions_.end(), std::move(ask));
}

Activity::Question::~Question() {
  const std::lock_guard lock(activity_.questions_mutex_);
  activity_.questions_.erase(at_);
}

Activity::Beside::Beside(Activity& main, Activity& other) : main_(main) {
  const std::lock_guard lock(main_.beside_mutex_);
  main_.beside_ = &other;
}

Activity::Beside::~Beside() {
  const std::lock_guard lock(main_.beside_mutex_);
  main_.beside_ = nullptr;
}

void Activity::look_beside(const std::function<void(const View&)>& look) const {
  const std::lock_guard lock(beside_mutex_);
  if (beside_) look(beside_->view());
}

Activity::Told::Told(Activity& activity, WaitsFor what, const char* in)
    : activity_(activity.owner_.load() == std::this_thread::get_id() ? &activity : nullptr) {
  if (!activity_) return;
  what_ = activity_->waits_for_.exchange(what, std::memory_order_relaxed);
  in_ = activity_->waits_in_.exchange(in, std::memory_order_relaxed);
}

Activity::Told::~Told() {
  if (!activity_) return;
  activity_->waits_for_.store(what_, std::memory_order_relaxed);
  activity_->waits_in_.store(in_, std::memory_order_relaxed);
}

LongWork::LongWork(Activity& activity, const char* name) : activity_(activity) {
  activity_.begin_phase(name);
  activity_.long_works_.fetch_add(1, std::memory_order_relaxed);
}

LongWork::~LongWork() {
  activity_.end_phase();
  activity_.long_works_.fetch_sub(1, std::memory_order_relaxed);
}

}  // namespace retain
