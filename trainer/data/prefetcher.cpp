#include "trainer/data/prefetcher.h"

#include <algorithm>
#include <utility>

namespace retain {

Prefetcher::Prefetcher(std::function<HostBatch(int64_t)> make, int64_t depth, std::function<int64_t(int64_t)> next)
    : make_(std::move(make)),
      depth_(static_cast<size_t>(std::max(int64_t{1}, depth))),
      next_(std::move(next)),
      thread_([this](const std::stop_token& stop) { work(stop); }) {}

HostBatch Prefetcher::take(int64_t ordinal) {
  std::unique_lock lock(mutex_);
  if (ordinal != first_) {
    ready_.clear();
    first_ = unmade_ = ordinal;
    ++generation_;
    changed_.notify_all();
  }
  changed_.wait(lock, [this] { return !ready_.empty(); });
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
