// A host communicator that behaves as one of a device: a collective takes effect when it is waited for, together with
// those that were begun before it, and until then what it will write is NaN where nobody has yet to read it. A result
// that is used too early, or an operand that is changed too early, shows.
#pragma once

#include <deque>
#include <functional>

#include "parallel/communicator.h"

namespace retain::test {

class LateCommunicator final : public Communicator {
 public:
  explicit LateCommunicator(std::unique_ptr<Communicator> inner) : inner_(std::move(inner)) {}

  const char* name() const override { return inner_->name(); }
  int rank() const override { return inner_->rank(); }
  int size() const override { return inner_->size(); }

  Pending all_reduce(const TensorView& x, ReduceOp op) override {
    return later([this, x, op] { inner_->all_reduce(x, op).wait(); });
  }
  Pending all_gather(const TensorView& out, const TensorView& in) override {
    spoil(out, in);
    return later([this, out, in] { inner_->all_gather(out, in).wait(); });
  }
  Pending reduce_scatter(const TensorView& out, const TensorView& in) override {
    spoil(out, in);
    return later([this, out, in] { inner_->reduce_scatter(out, in).wait(); });
  }
  Pending broadcast(const TensorView& x, int root) override {
    return later([this, x, root] { inner_->broadcast(x, root).wait(); });
  }
  Pending send(const TensorView& x, int peer) override {
    return later([this, x, peer] { inner_->send(x, peer).wait(); });
  }
  Pending receive(const TensorView& x, int peer) override {
    return later([this, x, peer] { inner_->receive(x, peer).wait(); });
  }
  void barrier() override {
    wait(begun_);
    inner_->barrier();
  }
  std::unique_ptr<Communicator> split(int color, int key) override { return inner_->split(color, key); }

 private:
  /// Every byte of `out` that is not in `in` as 0xff: of floating types NaN.
  static void spoil(const TensorView& out, const TensorView& in) {
    char* begin = static_cast<char*>(out.data);
    char* end = begin + out.bytes();
    char* kept = static_cast<char*>(in.data);
    char* kept_end = kept + in.bytes();
    for (char* byte = begin; byte != end; ++byte) {
      if (byte < kept || byte >= kept_end) *byte = '\xff';
    }
  }
  Pending later(std::function<void()> collective) {
    under_way_.push_back(std::move(collective));
    return Pending(this, ++begun_);
  }
  void wait(int64_t ticket) override {
    for (; done_ < ticket; ++done_) {
      under_way_.front()();
      under_way_.pop_front();
    }
  }

  std::unique_ptr<Communicator> inner_;
  std::deque<std::function<void()>> under_way_;
  int64_t begun_ = 0, done_ = 0;
};

}  // namespace retain::test
