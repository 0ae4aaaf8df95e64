// One request for completions on its way through the service: its choices, which the engine's thread fills and a
// connection's thread empties.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "launch/serve/completions.h"
#include "launch/serve/service.h"

namespace retain {

class Completion {
 public:
  /// `request` and `model` outlive it. `on_ended`: called once, on the engine's thread, when all choices have ended.
  Completion(const CompletionRequest& request, const ServedModel& model, std::function<void()> on_ended);
  ~Completion();

  /// For Service::Stay: one a choice, in their order.
  std::vector<Sequence*> sequences();

  /// Waits for all choices to end, or with `any` for one of them to have something new; false: not within this time.
  bool wait(std::chrono::milliseconds limit, bool any);
  /// What is new of each choice that has something new.
  std::vector<ChoicePart> take_news();

  bool ended() const;
  /// Why a choice failed, if one did.
  std::optional<std::string> failure() const;
  int64_t completion_tokens() const;
  /// When the first token of any choice was drawn.
  std::optional<std::chrono::steady_clock::time_point> first_token() const;

 private:
  class Choice;

  const CompletionRequest& request_;
  const ServedModel& model_;
  const std::function<void()> on_ended_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::unique_ptr<Choice>> choices_;
  int64_t open_ = 0;  ///< choices that have not ended
  bool news_ = false;
  int64_t completion_tokens_ = 0;
  std::optional<std::string> failure_;
  std::optional<std::chrono::steady_clock::time_point> first_token_;
};

}  // namespace retain
