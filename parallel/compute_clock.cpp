#include "parallel/compute_clock.h"

#include <algorithm>
#include <unordered_map>
#include <utility>

namespace retain {

namespace {

/// Passes everything on, and tells the clock when the rank waits.
class WatchedCommunicator final : public Communicator {
 public:
  WatchedCommunicator(std::unique_ptr<Communicator> inner, ComputeClock& clock)
      : inner_(std::move(inner)), clock_(clock) {}

  const char* name() const override { return inner_->name(); }
  int rank() const override { return inner_->rank(); }
  int size() const override { return inner_->size(); }

  Pending all_reduce(const TensorView& x, ReduceOp op) override {
    return watched([&] { return inner_->all_reduce(x, op); });
  }
  Pending all_gather(const TensorView& out, const TensorView& in) override {
    return watched([&] { return inner_->all_gather(out, in); });
  }
  Pending reduce_scatter(const TensorView& out, const TensorView& in) override {
    return watched([&] { return inner_->reduce_scatter(out, in); });
  }
  Pending broadcast(const TensorView& x, int root) override {
    return watched([&] { return inner_->broadcast(x, root); });
  }
  Pending send(const TensorView& x, int peer) override {
    return watched([&] { return inner_->send(x, peer); });
  }
  Pending receive(const TensorView& x, int peer) override {
    return watched([&] { return inner_->receive(x, peer); });
  }
  void barrier() override { inner_->barrier(); }
  std::unique_ptr<Communicator> split(int color, int key) override { return inner_->split(color, key); }
  void abort() noexcept override { inner_->abort(); }

 private:
  template <class Call>
  Pending watched(const Call& call) {
    if (inner_->size() == 1) return call();
    if (clock_.host_waits()) {
      if (clock_.measures()) clock_.begin_wait();
      Pending done = call();
      if (clock_.measures()) clock_.end_wait();
      return done;
    }
    under_way_.emplace(++begun_, call());
    return Pending(this, begun_);
  }
  void wait(int64_t ticket) override {
    auto pending = under_way_.extract(ticket);
    if (clock_.measures()) clock_.begin_wait();
    pending.mapped().wait();
    if (clock_.measures()) clock_.end_wait();
  }

  std::unique_ptr<Communicator> inner_;
  ComputeClock& clock_;
  std::unordered_map<int64_t, Pending> under_way_;
  int64_t begun_ = 0;
};

}  // namespace

MakeTensorGroup ComputeClock::watching(MakeTensorGroup make) {
  return [this, make = std::move(make)](std::unique_ptr<Communicator> group) {
    return std::make_unique<WatchedCommunicator>(make(std::move(group)), *this);
  };
}

ComputeClock::Timer ComputeClock::take_timer() {
  if (spare_.empty()) return backend_.make_timer();
  Timer timer = std::move(spare_.back());
  spare_.pop_back();
  return timer;
}

void ComputeClock::begin_step() {
  RETAIN_CHECK(!measures_, "a step is measured already");
  measures_ = true;
  steps_.push_back({.whole = take_timer(), .waits = {}});
  steps_.back().whole->start();
}

void ComputeClock::end_step() {
  RETAIN_CHECK(measures_, "no step is measured");
  steps_.back().whole->stop();
  measures_ = false;
}

void ComputeClock::begin_wait() {
  std::vector<Timer>& waits = steps_.back().waits;
  waits.push_back(take_timer());
  waits.back()->start();
}

void ComputeClock::end_wait() { steps_.back().waits.back()->stop(); }

ComputeClock::Times ComputeClock::take_times() {
  RETAIN_CHECK(!steps_.empty() && (steps_.size() > 1 || !measures_), "no step was measured");
  Step step = std::move(steps_.front());
  steps_.pop_front();
  const double all_ms = step.whole->elapsed_ms();
  double own_ms = all_ms;
  for (Timer& wait : step.waits) {
    own_ms -= wait->elapsed_ms();
    spare_.push_back(std::move(wait));
  }
  spare_.push_back(std::move(step.whole));
  return {.own_ms = own_ms, .all_ms = all_ms};
}

}  // namespace retain
