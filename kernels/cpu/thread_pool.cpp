#include "kernels/cpu/thread_pool.h"

#include <algorithm>
#include <system_error>

#include "kernels/core/error.h"

namespace retain::cpu {
namespace {

/// Looks for some microseconds, within which the next loop of a step begins, whether done(); more would take the
/// processor from others.
template <class Done>
void look_for(const Done& done) {
  for (int look = 0; look < 500 && !done(); ++look) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
  }
}

}  // namespace

ThreadPool::ThreadPool(int threads) {
  RETAIN_CHECK(threads >= 1, "threads is ", threads, ", want at least 1");
  try {
    for (int thread = 1; thread < threads; ++thread) workers_.emplace_back([this, thread] { serve(thread); });
  } catch (const std::system_error&) {
    // The system gives no more threads: those that are there do.
  }
}

ThreadPool::~ThreadPool() {
  {
    const std::lock_guard lock(mutex_);
    over_ = true;
    ++begun_;
  }
  begins_.notify_all();
}

void ThreadPool::share(const Loop& loop) {
  {
    const std::lock_guard lock(mutex_);
    RETAIN_CHECK(!loop_, "a loop within a loop, or of a second thread");
    loop_ = &loop;
    next_ = 0;
    ++begun_;
  }
  begins_.notify_all();
  take_parts(loop, 0);
  std::unique_lock lock(mutex_);
  loop_ = nullptr;
  if (inside_ == 0) return;
  lock.unlock();
  look_for([&] { return inside_ == 0; });
  lock.lock();
  ends_.wait(lock, [&] { return inside_ == 0; });
}

void ThreadPool::take_parts(const Loop& loop, int thread) {
  for (int64_t begin = next_.fetch_add(loop.part); begin < loop.count; begin = next_.fetch_add(loop.part)) {
    loop.call(loop.f, begin, std::min(begin + loop.part, loop.count), thread);
  }
}

void ThreadPool::serve(int thread) {
  for (uint32_t seen = 0;;) {
    look_for([&] { return begun_ != seen; });
    std::unique_lock lock(mutex_);
    begins_.wait(lock, [&] { return begun_ != seen; });
    seen = begun_;
    if (over_) return;
    if (!loop_) continue;
    const Loop& loop = *loop_;
    ++inside_;
    lock.unlock();
    take_parts(loop, thread);
    lock.lock();
    if (--inside_ == 0) ends_.notify_one();
  }
}

}  // namespace retain::cpu
