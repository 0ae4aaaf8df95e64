// The engine on a thread of its own, and who may use it: requests come from any thread, each with its sequences, and
// leave with them. More than are taken at once are refused, not kept: a queue without an end would answer everybody too
// late.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "parallel/agreement.h"
#include "trainer/inference/engine.h"

namespace retain {

class Service {
 public:
  /// The engine, which nobody else touches, outlives it. At most so many requests are there at once.
  Service(Engine& engine, int64_t most_requests);
  /// All requests have left.
  ~Service();
  Service(const Service&) = delete;
  Service& operator=(const Service&) = delete;

  enum class Entry : uint8_t { kTaken, kFull, kEnding };

  /// A request's stay. What its sequences are told they are told by the engine's thread, and nothing once it has ended.
  class Stay {
   public:
    /// The sequences, where they are taken, outlive the stay.
    Stay(Service& service, std::vector<Sequence*> sequences);
    ~Stay();
    Stay(const Stay&) = delete;
    Stay& operator=(const Stay&) = delete;
    Entry entry() const { return entry_; }
    /// Another request may have the place: all sequences have ended, and whoever reads what came of them may take long.
    /// Any thread.
    void leave_place();

   private:
    /// With the lock held.
    void free_place();

    Service& service_;
    std::vector<Sequence*> sequences_;
    Entry entry_;
    bool has_place_ = false;
  };

  struct State {
    int64_t requests = 0, waiting_sequences = 0, active_sequences = 0;
    Engine::Counts counts;
  };
  State state() const;

  /// No request is taken any more.
  void refuse_more();
  /// Whether the last request has left its place before so long.
  bool wait_until_empty(std::chrono::milliseconds limit);
  /// Every sequence that is there ends now, with this reason, and so does whatever comes.
  void end_all(const std::string& reason);
  /// Why the engine works no more, if it does not: every sequence was told.
  std::optional<Outcome> failure() const;

 private:
  void run();
  /// Takes in what came, and out what left.
  void exchange();

  Engine& engine_;
  const int64_t most_requests_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool refusing_ = false, over_ = false;
  std::vector<Sequence*> coming_, leaving_;
  State state_;
  std::optional<Outcome> failure_;
  std::thread thread_;
};

}  // namespace retain
