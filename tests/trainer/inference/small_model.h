// The model that the tests of decoding share: small, with weights large enough that its tokens matter to each other.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/core/random.h"
#include "tests/support/backends.h"
#include "trainer/inference/decoder.h"

namespace retain::test {

inline constexpr int64_t kVocab = 53;

inline ModelConfig small_model() {
  ModelConfig model;
  model.layers = 2;
  model.hidden_size = 32;
  model.heads = 2;
  model.ffn_size = 40;
  model.vocab_size = kVocab;
  model.init_std = 0.2;
  model.norm_eps = 1e-3;
  return model;
}

/// Tokens below `end`; equal seeds begin alike.
inline std::vector<int32_t> random_tokens(uint64_t seed, int64_t count, int64_t end = kVocab) {
  std::vector<int32_t> tokens;
  for (int64_t i = 0; i < count; ++i)
    tokens.push_back(static_cast<int32_t>(philox_bits(seed, static_cast<uint64_t>(i)) % static_cast<uint64_t>(end)));
  return tokens;
}

/// Decoders of that model on a backend.
class SmallModelTest : public BackendTest {
 protected:
  void SetUp() override {
    BackendTest::SetUp();
    if (IsSkipped()) return;
    layout_ = ParameterLayout(small_model(), 0, 1, 1);
    parameters_ = std::make_unique<ParameterStore>(backend(), layout_, compute(), ReplicaShare(layout_.buckets),
                                                   Residency::kInference);
    parameters_->initialize(3);
  }
  void TearDown() override { parameters_.reset(); }

  ParameterStore& parameters() { return *parameters_; }
  Decoder decoder(int64_t slots) { return {backend(), *parameters_, small_model(), compute(), slots}; }

 private:
  ParameterLayout layout_;
  std::unique_ptr<ParameterStore> parameters_;
};

}  // namespace retain::test
