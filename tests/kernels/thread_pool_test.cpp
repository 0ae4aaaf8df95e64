#include "kernels/cpu/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <vector>

#include "kernels/core/error.h"

namespace retain::cpu {
namespace {

TEST(ThreadPool, CallsForEachIndexOnceHoweverTheLoopIsCut) {
  ThreadPool pool(3);
  for (const int64_t count : {0, 1, 2, 7, 100}) {
    for (const int64_t part : {1, 3, 1000}) {
      std::vector<std::atomic<int>> calls(static_cast<size_t>(count));
      std::atomic<bool> good = true;
      pool.run(count, part, [&](int64_t begin, int64_t end, int thread) {
        if (end - begin > part || thread < 0 || thread >= pool.size()) good = false;
        for (int64_t i = begin; i < end; ++i) ++calls[static_cast<size_t>(i)];
      });
      EXPECT_TRUE(good);
      for (const std::atomic<int>& n : calls) EXPECT_EQ(n, 1) << "of " << count << " in parts of " << part;
    }
  }
}

TEST(ThreadPool, EachLoopIsDoneWhenItReturns) {
  ThreadPool pool(4);
  int64_t expected = 0;
  std::atomic<int64_t> sum = 0;
  for (int loop = 0; loop < 5000; ++loop) {
    parallel_for(&pool, 10, [&](int64_t i) { sum += i; });
    expected += 45;
    ASSERT_EQ(sum, expected) << "after loop " << loop;
  }
}

TEST(ThreadPool, PartsRunAtTheSameTime) {
  ThreadPool pool(2);
  std::atomic<int> begun = 0;
  parallel_items(&pool, 2, [&](int64_t, int) {
    ++begun;
    while (begun < 2) std::this_thread::yield();  // each waits for the other
  });
  EXPECT_EQ(begun, 2);
}

TEST(ThreadPool, RefusesALoopWithinALoop) {
  ThreadPool pool(2);
  pool.run(1, 1, [&](int64_t, int64_t, int) { EXPECT_THROW(pool.run(1, 1, [](int64_t, int64_t, int) {}), Error); });
}

TEST(ParallelFor, StaysOnThisThreadWithoutOthers) {
  int64_t sum = 0;
  parallel_for(nullptr, 5, [&](int64_t i) { sum += i; });
  parallel_items(nullptr, 5, [&](int64_t i, int thread) { sum += i + thread; });
  EXPECT_EQ(sum, 20);
}

}  // namespace
}  // namespace retain::cpu
