// A rank's own time of a step, by a clock that the test moves.
#include "parallel/compute_clock.h"

#include <gtest/gtest.h>

#include "tests/support/wrapped_backend.h"

namespace retain::test {
namespace {

class GivenTimer final : public DeviceTimer {
 public:
  explicit GivenTimer(const double& now_ms) : now_ms_(now_ms) {}
  void start() override { begin_ = now_ms_; }
  void stop() override { end_ = now_ms_; }
  double elapsed_ms() override { return end_ - begin_; }

 private:
  const double& now_ms_;
  double begin_ = 0, end_ = 0;
};

class GivenClockBackend final : public WrappedBackend {
 public:
  explicit GivenClockBackend(bool runs_ahead) : WrappedBackend(make_cpu_backend(1)), runs_ahead_(runs_ahead) {}
  bool runs_ahead() const override { return runs_ahead_; }
  std::unique_ptr<DeviceTimer> make_timer() override {
    ++timers;
    return std::make_unique<GivenTimer>(now_ms);
  }
  double now_ms = 0;
  int timers = 0;

 private:
  bool runs_ahead_;
};

/// Two ranks, of which the other one comes late: 3 ms in the call, and 5 in the wait.
class LateGroup final : public Communicator {
 public:
  explicit LateGroup(double& now_ms) : now_ms_(now_ms) {}
  const char* name() const override { return "late"; }
  int rank() const override { return 0; }
  int size() const override { return 2; }
  Pending all_reduce(const TensorView&, ReduceOp) override { return begun(); }
  Pending all_gather(const TensorView&, const TensorView&) override { return begun(); }
  Pending reduce_scatter(const TensorView&, const TensorView&) override { return begun(); }
  Pending broadcast(const TensorView&, int) override { return begun(); }
  Pending send(const TensorView&, int) override { return begun(); }
  Pending receive(const TensorView&, int) override { return begun(); }
  void barrier() override {}
  std::unique_ptr<Communicator> split(int, int) override { return nullptr; }

 private:
  Pending begun() {
    now_ms_ += 3;
    return Pending(this, 1);
  }
  void wait(int64_t) override { now_ms_ += 5; }
  double& now_ms_;
};

/// A step with 10 ms of work beside two exchanges, of which one was begun in the step before.
double own_ms_of_a_step(ComputeClock& clock, GivenClockBackend& backend, Communicator& group) {
  const TensorView none;
  Pending before = group.all_gather(none, none);
  clock.begin_step();
  before.wait();
  backend.now_ms += 4;
  Pending pending = group.all_reduce(none, ReduceOp::kSum);
  backend.now_ms += 6;
  pending.wait();
  clock.end_step();
  group.broadcast(none, 0).wait();  // of nobody's step
  return clock.take_times().own_ms;
}

TEST(ComputeClock, OnADeviceLeavesOutWhatTheQueueWaitsFor) {
  GivenClockBackend backend(true);
  ComputeClock clock(backend);
  const auto group = clock.watching(same_group)(std::make_unique<LateGroup>(backend.now_ms));
  EXPECT_EQ(own_ms_of_a_step(clock, backend, *group), 4 + 3 + 6);
}

TEST(ComputeClock, OnTheHostLeavesOutWholeCalls) {
  GivenClockBackend backend(false);
  ComputeClock clock(backend);
  const auto group = clock.watching(same_group)(std::make_unique<LateGroup>(backend.now_ms));
  EXPECT_EQ(own_ms_of_a_step(clock, backend, *group), 5 + 4 + 6 + 5);  // the waits of such a group take no time
}

TEST(ComputeClock, MeasuresStepsThatFollowOnEachOtherWithoutNewTimers) {
  GivenClockBackend backend(true);
  ComputeClock clock(backend);
  const auto group = clock.watching(same_group)(std::make_unique<LateGroup>(backend.now_ms));
  const auto queue = [&](double ms) {
    clock.begin_step();
    group->all_reduce({}, ReduceOp::kSum).wait();
    backend.now_ms += ms;
    clock.end_step();
  };
  queue(1);
  for (int step = 1; step < 10; ++step) {
    queue(step + 1);
    EXPECT_EQ(clock.take_times().own_ms, 3 + step);
  }
  EXPECT_EQ(clock.take_times().own_ms, 3 + 10);
  EXPECT_EQ(backend.timers, 4);
}

TEST(ComputeClock, AGroupOfOneWaitsForNobody) {
  GivenClockBackend backend(true);
  ComputeClock clock(backend);
  const auto group = clock.watching(same_group)(make_self_communicator());
  clock.begin_step();
  float x = 0;
  group->all_reduce({&x, DType::kFloat32, {1}}, ReduceOp::kSum).wait();
  clock.end_step();
  EXPECT_EQ(clock.take_times().own_ms, 0);
  EXPECT_EQ(backend.timers, 1);
}

}  // namespace
}  // namespace retain::test
