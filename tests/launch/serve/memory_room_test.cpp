#include "launch/serve/memory_room.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

namespace retain {
namespace {

TEST(MemoryRoom, IsNeverTakenBySeveralThatAreTooLargeTogether) {
  MemoryRoom room(10);
  std::atomic<int64_t> taken = 0;
  std::atomic<bool> too_many = false, beside_the_large = false;
  const auto work = [&](int64_t bytes) {
    for (int i = 0; i < 200; ++i) {
      const MemoryRoom::Part part(room, bytes);
      const int64_t now = taken += bytes;
      if (bytes <= 10 && now > 10) too_many = true;
      if (bytes > 10 && now != bytes) beside_the_large = true;
      std::this_thread::yield();
      taken -= bytes;
    }
  };
  std::vector<std::thread> threads;
  for (const int64_t bytes : {4, 5, 6, 1, 30, 40}) threads.emplace_back(work, bytes);
  for (std::thread& one : threads) one.join();
  EXPECT_FALSE(too_many);
  EXPECT_FALSE(beside_the_large);
}

}  // namespace
}  // namespace retain
