// Which marks on a stream the device has passed, told to an activity: so the watchdog sees a device work, or stand.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <mutex>
#include <utility>

#include "kernels/core/activity.h"
#include "kernels/cuda/handles.h"

namespace retain::cuda {

class Milestones {
 public:
  /// Called with each mark that was passed, in their order.
  using Passed = std::function<void(const Activity::Place& mark)>;
  explicit Milestones(Passed passed) : passed_(std::move(passed)) {
    for (Event& event : events_) event = make_event();
  }

  /// Is there room for so many marks? A host that is far ahead leaves some out.
  bool has_room(int64_t marks);
  /// Marks what was queued on the stream so far. In a full list: nothing.
  void mark(cudaStream_t stream, const Activity::Place& mark);
  /// Looks which marks were passed; what a device that failed did not pass stays. Any thread.
  void look();

 private:
  static constexpr int64_t kMarks = 64;
  static size_t slot(int64_t number) { return static_cast<size_t>(number % kMarks); }

  Passed passed_;
  std::mutex mutex_;
  std::array<Event, kMarks> events_;
  std::array<Activity::Place, kMarks> marks_{};
  int64_t first_ = 0, end_ = 0;  // those that were not passed yet
};

}  // namespace retain::cuda
