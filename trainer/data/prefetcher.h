// Makes batches ahead of their use on one thread of its own, so that loading costs the step nothing.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <stop_token>
#include <thread>

#include "kernels/core/activity.h"
#include "trainer/data/host_batch.h"

namespace retain {

class Prefetcher {
 public:
  /// `make` is called on the prefetching thread only, one batch at a time; at most `depth` batches wait. After batch
  /// number n comes number next(n). Tells `activity`, which outlives it, of waits; without one nobody.
  Prefetcher(
      std::function<HostBatch(int64_t)> make, int64_t depth,
      std::function<int64_t(int64_t)> next = [](int64_t n) { return n + 1; }, Activity* activity = nullptr);

  /// Batch number `ordinal`. Cheap when it follows the last one taken; any other number starts afresh there. Throws
  /// what `make` threw for this batch. One thread at a time may take.
  HostBatch take(int64_t ordinal);
  /// That all calls of take() waited for a batch to be made.
  double waited_seconds() const { return waited_seconds_; }

 private:
  struct Item {
    HostBatch batch;
    std::exception_ptr failure;
  };
  void work(const std::stop_token& stop);

  const std::function<HostBatch(int64_t)> make_;
  const size_t depth_;
  const std::function<int64_t(int64_t)> next_;
  Activity unseen_;
  Activity& activity_;
  double waited_seconds_ = 0;  ///< whoever takes counts
  std::mutex mutex_;
  std::condition_variable_any changed_;
  // guarded by mutex_
  std::deque<Item> ready_;  ///< batches first_, next(first_), …
  int64_t first_ = -1;      ///< the next to be taken; -1: nothing was asked for yet
  int64_t unmade_ = -1;     ///< the next to be made
  int64_t generation_ = 0;  ///< grows when the order is broken: what is being made then is thrown away
  std::jthread thread_;     ///< last: it ends before what it uses
};

}  // namespace retain
