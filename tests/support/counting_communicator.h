// A communicator that counts the collectives of its group that this rank begins, by their name, and passes them on.
#pragma once

#include <map>
#include <string>

#include "parallel/communicator.h"

namespace retain::test {

class CountingCommunicator final : public Communicator {
 public:
  using Counts = std::map<std::string, int64_t>;  ///< "all_reduce" -> calls

  /// `counts` outlives this.
  CountingCommunicator(std::unique_ptr<Communicator> inner, Counts& counts)
      : inner_(std::move(inner)), counts_(counts) {}

  const char* name() const override { return inner_->name(); }
  int rank() const override { return inner_->rank(); }
  int size() const override { return inner_->size(); }

  Pending all_reduce(const TensorView& x, ReduceOp op) override {
    // What is small is told apart from what is large.
    ++counts_[x.dtype == DType::kFloat64 && x.elements() <= 8 ? "small all_reduce" : "all_reduce"];
    return inner_->all_reduce(x, op);
  }
  Pending all_gather(const TensorView& out, const TensorView& in) override {
    ++counts_["all_gather"];
    return inner_->all_gather(out, in);
  }
  Pending reduce_scatter(const TensorView& out, const TensorView& in) override {
    ++counts_["reduce_scatter"];
    return inner_->reduce_scatter(out, in);
  }
  Pending broadcast(const TensorView& x, int root) override {
    ++counts_["broadcast"];
    return inner_->broadcast(x, root);
  }
  Pending send(const TensorView& x, int peer) override {
    ++counts_["send"];
    return inner_->send(x, peer);
  }
  Pending receive(const TensorView& x, int peer) override {
    ++counts_["receive"];
    return inner_->receive(x, peer);
  }
  void barrier() override {
    ++counts_["barrier"];
    inner_->barrier();
  }
  std::unique_ptr<Communicator> split(int color, int key) override { return inner_->split(color, key); }

 private:
  void wait(int64_t) override {}  // the inner one's are waited for

  std::unique_ptr<Communicator> inner_;
  Counts& counts_;
};

}  // namespace retain::test
