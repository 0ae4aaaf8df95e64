// Ranks that share heads, FFN and vocabulary decode what one rank does, and draw the same tokens.
#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "kernels/core/random.h"
#include "tests/support/ranks.h"
#include "tests/support/tiny_run.h"
#include "trainer/inference/decoder.h"

namespace retain::test {
namespace {

constexpr int64_t kPrompt = 300;  // a block and single tokens

ModelConfig model_config() {
  ModelConfig model = tiny_config("").model;
  model.heads = 6;
  model.hidden_size = 24;
  model.embedding_norm = true;
  model.group_norm_eps = GroupNormEps::kRowsum;
  return model;
}

std::vector<int32_t> text(int64_t count) {
  std::vector<int32_t> tokens;
  for (int64_t i = 0; i < count; ++i)
    tokens.push_back(static_cast<int32_t>(philox_bits(3, static_cast<uint64_t>(i)) % 257));
  return tokens;
}

struct Decoded {
  std::vector<float> prompt, step;
  std::vector<Decoder::Scored> scored;
  std::vector<int32_t> drawn;
};

Decoded decode(Communicator& tp) {
  const auto backend = make_cpu_backend(1);
  const ParameterLayout layout(model_config(), tp.rank(), tp.size(), 1);
  ParameterStore parameters(*backend, layout, DType::kFloat64, ReplicaShare(), Residency::kInference);
  parameters.initialize(5);
  Decoder decoder(*backend, tp, parameters, model_config(), DType::kFloat64, 3);
  Decoded result;
  result.prompt = decoder.feed(2, text(kPrompt));
  decoder.feed_scored(0, text(20), 2, result.scored);
  result.step = decoder.step(std::array{Decoder::Continuation{2, 17}, Decoder::Continuation{0, 4}});
  std::array draws = {Decoder::Draw{.slot = 0, .sampling = {.key = 7}, .token = 1},
                      Decoder::Draw{.slot = 2, .sampling = {.temperature = 0.5F, .top_k = 9, .key = 8}, .token = 2}};
  for (int i = 0; i < 10; ++i) {
    decoder.queue_step(draws);
    for (const int32_t token : decoder.next_tokens()) result.drawn.push_back(token);
    for (Decoder::Draw& draw : draws) draw.token = -1;
  }
  return result;
}

TEST(DecoderRanks, DecodeWhatOneRankDoes) {
  on_every_group([](Communicator& group) {
    if (group.size() != 2 && group.size() != 3) return;
    const auto self = make_self_communicator();
    const Decoded one = decode(*self), mine = decode(group);
    ASSERT_EQ(mine.prompt.size(), one.prompt.size());
    for (size_t i = 0; i < one.prompt.size(); ++i) EXPECT_NEAR(mine.prompt[i], one.prompt[i], 1e-6) << i;
    ASSERT_EQ(mine.step.size(), one.step.size());
    for (size_t i = 0; i < one.step.size(); ++i) EXPECT_NEAR(mine.step[i], one.step[i], 1e-6) << i;
    for (size_t i = 1; i < one.scored.size(); ++i)
      EXPECT_NEAR(mine.scored[i].log_probability, one.scored[i].log_probability, 1e-6) << i;
    EXPECT_EQ(mine.drawn, one.drawn);
    EXPECT_EQ(one.drawn.size(), 20U);
  });
}

}  // namespace
}  // namespace retain::test
