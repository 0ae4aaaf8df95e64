// The threads of the CPU backend. Each takes the next part of a loop when it is done with its last, so one that the
// system keeps from running holds nobody up. A thread without work looks for some for a moment and then sleeps: on a
// machine with other work it takes no time from the threads that have some. Private to kernels/cpu.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

namespace retain::cpu {

class ThreadPool {
 public:
  /// `threads` with the one that calls run(); at least 1.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return 1 + static_cast<int>(workers_.size()); }

  /// f(begin, end, thread) for parts of at most `part` of [0, count), with thread < size(); returns when all are done.
  /// f throws nothing. One thread at a time calls run(), and not from within f.
  template <class F>
  void run(int64_t count, int64_t part, const F& f) {
    share(
        {[](const void* g, int64_t begin, int64_t end, int thread) { (*static_cast<const F*>(g))(begin, end, thread); },
         &f, count, part});
  }

 private:
  struct Loop {
    void (*call)(const void* f, int64_t begin, int64_t end, int thread);
    const void* f;
    int64_t count, part;
  };
  void share(const Loop& loop);
  void take_parts(const Loop& loop, int thread);
  void serve(int thread);

  std::mutex mutex_;  // guards all that changes but next_
  std::condition_variable begins_, ends_;
  const Loop* loop_ = nullptr;       // open to workers
  std::atomic<int64_t> next_ = 0;    // first index of it that nobody has taken
  std::atomic<int> inside_ = 0;      // workers that take parts of it; atomic to be looked at without the mutex
  std::atomic<uint32_t> begun_ = 0;  // loops until now; likewise
  bool over_ = false;
  std::vector<std::jthread> workers_;
};

/// f(i) for every i in [0, count); without threads on this one.
template <class F>
void parallel_for(ThreadPool* threads, int64_t count, const F& f) {
  const auto range = [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) f(i);
  };
  if (!threads || count <= 1) return range(0, count, 0);
  constexpr int64_t kPartsOfAThread = 4;
  threads->run(count, count / (threads->size() * kPartsOfAThread) + 1, range);
}

/// f(i, thread) for items of unequal cost; thread < threads->size() numbers the scratch that this call of f may use.
template <class F>
void parallel_items(ThreadPool* threads, int64_t count, const F& f) {
  const auto range = [&](int64_t begin, int64_t end, int thread) {
    for (int64_t i = begin; i < end; ++i) f(i, thread);
  };
  if (!threads || count <= 1) return range(0, count, 0);
  threads->run(count, 1, range);
}

}  // namespace retain::cpu
