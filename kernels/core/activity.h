// What this process is at, for a watchdog that looks from another thread (parallel/health), and the one place where the
// host waits for a device, another rank or a disk. One thread owns an activity and tells what it does; any thread may
// look, and any may wait here: only the owner's waits are told.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <list>
#include <mutex>
#include <thread>

namespace retain {

enum class WaitsFor : uint8_t { kNothing, kDevice, kRanks, kDisk };

class Activity {
 public:
  using Clock = std::chrono::steady_clock;

  /// Where a thread or a device is. Names live as long as the program.
  struct Place {
    const char* phase = "";
    int layer = -1;  ///< counted from 0; -1: none
  };
  struct View {
    int64_t signs = 0;        ///< of life so far: pieces of work that ended
    int64_t collectives = 0;  ///< that ended, of those whose end the host sees
    int64_t step = 0;         ///< 1-based; 0: before the first
    Place host, device;       ///< a device's: what it has not ended yet; no phase where that is not known
    WaitsFor waits_for = WaitsFor::kNothing;
    const char* waits_in = "";
    bool waits_for_ranks = false;  ///< the host in a collective, or the device
    bool patient = false;          ///< some work under way may take long without a sign (LongWork)
    int gpu = -1;
  };

  /// Owned by the thread that makes it.
  Activity() = default;
  Activity(const Activity&) = delete;
  Activity& operator=(const Activity&) = delete;

  View view() const;

  // The owner's words. All cost a few nanoseconds.
  void own() { owner_ = std::this_thread::get_id(); }
  void begin_phase(const char* name);
  void end_phase();
  void at_layer(int layer) { layer_.store(layer, std::memory_order_relaxed); }
  void at_step(int64_t step) { step_.store(step, std::memory_order_relaxed); }
  void on_gpu(int gpu) { gpu_.store(gpu, std::memory_order_relaxed); }

  // Anybody's.
  /// A piece of work has ended: an operation, a collective, a block on disk.
  void progress() { signs_.fetch_add(1, std::memory_order_relaxed); }
  void ended_collective() {
    collectives_.fetch_add(1, std::memory_order_relaxed);
    progress();
  }
  void device_at(const Place& place);
  /// Of a group of ranks: its collective began on the device (+1), and ended (-1).
  void device_waits_for_ranks(int change) { exchanging_.fetch_add(change, std::memory_order_relaxed); }

  /// Returns once done() is true: looks busily for a moment, then asleep between looks, so that it takes no processor
  /// from the one that works. Meanwhile it asks the questions below. Throws what they or done() throw. `in` names the
  /// wait: "all_reduce".
  template <class Done>
  void wait(WaitsFor what, const char* in, const Done& done, Clock::duration busy = std::chrono::microseconds{100}) {
    const Told told(*this, what, in);
    for (const Clock::time_point begin = Clock::now(); !done();) {
      if (const Clock::duration waited = Clock::now() - begin; waited > busy) rest(waited);
    }
  }

  /// Something to ask while somebody waits: is all well that the wait may depend on? Throws when it is not. Asked by
  /// one thread at a time, of those that wait and the watchdog's.
  class Question {
   public:
    Question(Activity& activity, std::function<void()> ask);
    ~Question();
    Question(const Question&) = delete;
    Question& operator=(const Question&) = delete;

   private:
    Activity& activity_;
    std::list<std::function<void()>>::iterator at_;
  };
  /// Asks all questions, unless another thread is asking them.
  void ask();

  /// Work of another thread of this process beside this one: the writing of a checkpoint.
  class Beside {
   public:
    Beside(Activity& main, Activity& other);
    ~Beside();
    Beside(const Beside&) = delete;
    Beside& operator=(const Beside&) = delete;

   private:
    Activity& main_;
  };
  /// Calls with the view of what goes on beside; nothing when nothing does.
  void look_beside(const std::function<void(const View&)>& look) const;

 private:
  friend class LongWork;
  /// Tells of a wait for as long as it lives.
  class Told {
   public:
    Told(Activity& activity, WaitsFor what, const char* in);
    ~Told();
    Told(const Told&) = delete;
    Told& operator=(const Told&) = delete;

   private:
    Activity* activity_;  ///< null in another thread than the owner
    WaitsFor what_ = WaitsFor::kNothing;
    const char* in_ = "";
  };
  void rest(Clock::duration waited);

  static constexpr int kDepth = 8;  // of phases within phases; deeper ones are not told
  std::atomic<std::thread::id> owner_{std::this_thread::get_id()};
  std::array<std::atomic<const char*>, kDepth> phases_{};
  std::atomic<int> depth_{0}, layer_{-1}, gpu_{-1}, device_layer_{-1}, exchanging_{0}, long_works_{0};
  std::atomic<const char*> device_phase_{""}, waits_in_{""};
  std::atomic<WaitsFor> waits_for_{WaitsFor::kNothing};
  std::atomic<int64_t> signs_{0}, collectives_{0}, step_{0};
  std::mutex questions_mutex_;
  std::list<std::function<void()>> questions_;
  std::atomic<Clock::duration> asked_{Clock::duration{}};
  mutable std::mutex beside_mutex_;
  Activity* beside_ = nullptr;
};

/// A named phase, of the owner's, that may take long without a sign of life, for as long as it lives: a start, a save.
class LongWork {
 public:
  LongWork(Activity& activity, const char* name);
  ~LongWork();
  LongWork(const LongWork&) = delete;
  LongWork& operator=(const LongWork&) = delete;

 private:
  Activity& activity_;
};

}  // namespace retain
