// A backend that computes wrongly when it is told to: what a sick device, or a sick batch, does to a run.
#pragma once

#include <cstdint>
#include <functional>

#include "tests/support/wrapped_backend.h"

namespace retain::test {

class FaultyBackend final : public WrappedBackend {
 public:
  /// Spoils one element that a backward, or a loss, has just written; `count` of them came before since the beginning.
  using Fault = std::function<void(FaultyBackend& backend, int64_t count, const TensorView& element)>;

  explicit FaultyBackend(std::unique_ptr<Backend> inner) : WrappedBackend(std::move(inner)) {}

  Fault in_embedding_gradient;  ///< its first element, once a segment's backward
  Fault in_ffn;                 ///< the first activation of an FFN, once a segment, a layer and a chunk of its rows
  Fault in_loss;                ///< that of a segment's first token, once a cross-entropy
  Fault in_weights;             ///< the first of what an update has just written

  /// Of a float32 element, the lowest bit of its mantissa.
  void flip_lowest_bit(const TensorView& element) {
    uint32_t bits = 0;
    download(&bits, element);
    bits ^= 1U;
    upload(element, &bits);
  }

 private:
  void do_embedding_backward(const EmbeddingBackwardArgs& args) override {
    WrappedBackend::do_embedding_backward(args);
    if (in_embedding_gradient) in_embedding_gradient(*this, gradients_++, args.dweight.slice(0, 0, 1).slice(1, 0, 1));
  }
  void do_ffn_activation(const FfnActivationArgs& args) override {
    WrappedBackend::do_ffn_activation(args);
    if (in_ffn) in_ffn(*this, ffns_++, args.h.slice(0, 0, 1).slice(1, 0, 1));
  }
  void do_cross_entropy(const CrossEntropyArgs& args) override {
    WrappedBackend::do_cross_entropy(args);
    if (in_loss) in_loss(*this, losses_++, args.loss.slice(0, 0, 1));
  }
  void do_adamw(const AdamwArgs& args) override {
    WrappedBackend::do_adamw(args);
    if (in_weights) in_weights(*this, updates_++, args.weight.slice(0, 0, 1));
  }

  int64_t gradients_ = 0, ffns_ = 0, losses_ = 0, updates_ = 0;
};

}  // namespace retain::test
