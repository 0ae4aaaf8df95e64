// Work that takes memory for a while: as much of it at once as there is room for, or one alone that is larger.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>

namespace retain {

class MemoryRoom {
 public:
  explicit MemoryRoom(int64_t bytes) : bytes_(bytes) {}

  /// A part of the room, which waits until it is free. The room outlives it.
  class Part {
   public:
    Part(MemoryRoom& room, int64_t bytes) : room_(room), bytes_(bytes) {
      std::unique_lock lock(room.mutex_);
      room.changed_.wait(lock, [&] { return room.taken_ == 0 || room.taken_ + bytes <= room.bytes_; });
      room.taken_ += bytes;
    }
    ~Part() {
      const std::lock_guard lock(room_.mutex_);
      room_.taken_ -= bytes_;
      room_.changed_.notify_all();
    }
    Part(const Part&) = delete;
    Part& operator=(const Part&) = delete;

   private:
    MemoryRoom& room_;
    const int64_t bytes_;
  };

 private:
  const int64_t bytes_;
  int64_t taken_ = 0;
  std::mutex mutex_;
  std::condition_variable changed_;
};

}  // namespace retain
