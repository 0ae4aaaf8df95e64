// Ranks that share heads and rows infer what one rank does: losses in every form of retention, and logits of tokens
// that are fed one by one with the states carried from one to the next.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "tests/support/ranks.h"
#include "tests/support/tiny_run.h"
#include "trainer/model/host_values.h"

namespace retain::test {
namespace {

constexpr int64_t kTokens = 13;  // which no number of ranks divides

ModelConfig model_config() {
  ModelConfig model = tiny_config("").model;
  model.heads = 6;
  model.hidden_size = 24;
  model.embedding_norm = true;
  return model;
}

Dimensions dimensions(const Communicator& axis, int64_t tokens) {
  Dimensions dims(model_config(), {.sequences = 1, .tokens = tokens}, DType::kFloat64, axis.rank(), axis.size(), 4,
                  Device::kCpu);
  dims.tp_chunks = 3;
  return dims;
}

// One rank of tp with random weights in float64, which do not depend on the number of ranks.
class InferenceRank {
 public:
  InferenceRank(Communicator& axis, int64_t tokens)
      : tp_(axis),
        layout_(model_config(), axis.rank(), axis.size(), 1),
        parameters_(*backend_, layout_, DType::kFloat64, ReplicaShare(), Residency::kInference),
        model_(*backend_, tp_, cp_, parameters_, dimensions(axis, tokens), Residency::kInference),
        batch_buffer_(*backend_, batch_bytes(model_.dims().batch)) {
    parameters_.initialize(5);
    Arena arena(batch_buffer_);
    batch_ = take_batch(arena, model_.dims().batch);
    batch_.document_start = {};
  }

  std::vector<double> losses(RetentionForm form) {
    upload(0);
    model_.forward(batch_, form);
    return download_wide(*backend_, model_.loss(batch_));
  }

  /// Of this rank's vocabulary, behind all tokens.
  std::vector<double> decoded_logits() {
    CarriedStates states;
    const auto take = [&](Arena& arena) {
      states.clear();
      for (int64_t i = 0; i < model_.dims().model.layers; ++i)
        states.push_back({.in = model_.take_state(arena, i), .out = model_.take_state(arena, i)});
    };
    Arena planned;
    take(planned);
    const Buffer buffer(*backend_, planned.used_bytes());
    Arena arena(buffer);
    take(arena);
    for (const LayerStates& layer : states) backend_->fill(layer.in, 0);
    for (int64_t position = 0; position < kTokens; ++position) {
      upload(position);
      batch_.position_offset = position;
      model_.set_position_offset(position);
      model_.forward(batch_, RetentionForm::kRecurrent, &states);
      for (LayerStates& layer : states) std::swap(layer.in, layer.out);
    }
    return download_wide(*backend_, model_.logits(batch_, 0, 1).slice(1, 0, vocab().size()));
  }
  Range vocab() const { return model_.dims().vocab; }

 private:
  void upload(int64_t first) {
    std::vector<int32_t> tokens, targets;
    for (int64_t i = first; i < first + batch_.shape.tokens; ++i) {
      tokens.push_back(static_cast<int32_t>(i * 37 % 257));
      targets.push_back(static_cast<int32_t>((i + 1) * 37 % 257));
    }
    backend_->upload(batch_.tokens, tokens.data());
    backend_->upload(batch_.targets, targets.data());
  }

  const std::unique_ptr<Backend> backend_ = make_cpu_backend(1);
  const std::unique_ptr<Communicator> segment_ = make_self_communicator();
  TensorParallel tp_;
  ContextParallel cp_{*segment_};
  const ParameterLayout layout_;
  ParameterStore parameters_;
  RetNet model_;
  Buffer batch_buffer_;
  DeviceBatch batch_;
};

void expect_near(const std::vector<double>& got, const double* want) {
  for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], want[i], 1e-10) << i;
}

TEST(TensorParallelInference, HasTheLossesOfOneRankInEveryForm) {
  on_every_group([](Communicator& group) {
    if (group.size() != 2 && group.size() != 3) return;
    const auto self = make_self_communicator();
    for (const RetentionForm form : {RetentionForm::kParallel, RetentionForm::kChunkwise, RetentionForm::kRecurrent}) {
      SCOPED_TRACE(concat(group.size(), " ranks, form ", static_cast<int>(form)));
      const std::vector<double> one = InferenceRank(*self, kTokens).losses(form);
      EXPECT_GT(*std::min_element(one.begin(), one.end()), 0);
      expect_near(InferenceRank(group, kTokens).losses(form), one.data());
    }
  });
}

TEST(TensorParallelInference, CarriesStatesFromTokenToToken) {
  on_every_group([](Communicator& group) {
    if (group.size() != 2 && group.size() != 3) return;
    const auto self = make_self_communicator();
    const std::vector<double> one = InferenceRank(*self, 1).decoded_logits();
    InferenceRank rank(group, 1);
    expect_near(rank.decoded_logits(), one.data() + rank.vocab().begin);
  });
}

}  // namespace
}  // namespace retain::test
