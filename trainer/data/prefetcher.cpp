#include "trainer/data/prefetcher.h"

#include <algorithm>
#include <chrono>
#include <utility>

namespace retain {

namespace {

// Whoever waits hears of a batch at once, and looks at other things so often.
constexpr std::chrono::milliseconds kLook{20};

}  // namespace

Prefetcher::Prefetcher(std::function<HostBatch(int64_t)> make, int64_t depth, std::function<int64_t(int64_t)> next,
                       Activity* activity)
    : make_(std::move(make)),
      depth_(static_cast<size_t>(std::max(int64_t{1}, depth))),
      next_(std::move(next)),
      activity_(activity ? *activity : unseen_),
      thread_([this](const std::stop_token& stop) { work(stop); }) {}

HostBatch Prefetcher::take(int64_t ordinal) {
  std::unique_lock lock(mutex_);
  if (ordinal != first_) {
    ready_.clear();
    first_ = unmade_ = ordinal;
    ++generation_;
    changed_.notify_all();
  }
  const auto begin = std::chrono::steady_clock::now();
  activity_.wait(WaitsFor::kDisk, "reading batches",
                 [&] { return changed_.wait_for(lock, kLook, [this] { return !ready_.empty(); }); });
  waited_seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  activity_.progress();
  Item item = std::move(ready_.front());
  ready_.pop_front();
  first_ = next_(first_);
  changed_.notify_all();
  lock.unlock();
  if (item.failure) std::rethrow_exception(item.failure);
  return std::move(item.batch);
}

void Prefetcher::work(const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  while (changed_.wait(lock, stop, [this] { return first_ >= 0 && ready_.size() < depth_; })) {
    const int64_t ordinal = unmade_, generation = generation_;
    lock.unlock();
    Item item;
    try {
      item.batch = make_(ordinal);
    } catch (...) {
      item.failure = std::current_exception();  // handed to take(), which throws it to the step
    }
    lock.lock();
    if (generation != generation_) continue;
    ready_.push_back(std::move(item));
    unmade_ = next_(ordinal);
    changed_.notify_all();
  }
}

}  // namespace retain
