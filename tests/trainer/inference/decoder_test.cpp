// Sequences that are decoded side by side in slots, on every backend: each is what it is alone.
#include "trainer/inference/decoder.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "tests/trainer/inference/small_model.h"

namespace retain::test {
namespace {

class DecoderTest : public SmallModelTest {
 protected:
  /// Of sums in another order: the rounding of activations, grown a little through the layers.
  double tolerance() const { return compute() == DType::kBfloat16 ? 4e-2 : float64() ? 1e-6 : 1e-4; }
  void expect_same(const std::vector<float>& got, const std::vector<float>& want) {
    expect_close("logits", Values(got.begin(), got.end()), Values(want.begin(), want.end()), tolerance());
  }
};

TEST_P(DecoderTest, BlocksOfThePromptLeaveTheStateOfSingleTokens) {
  Decoder decoder = this->decoder(2);
  const std::vector<int32_t> prompt = random_tokens(12, 2500);  // blocks of every size
  const std::vector<float> want = decoder.feed(0, prompt);
  std::vector<float> got;
  for (const int32_t& token : prompt) got = decoder.feed(1, std::span(&token, 1));
  EXPECT_EQ(decoder.position(0), 2500);
  EXPECT_EQ(decoder.position(1), 2500);
  expect_same(got, want);
}

TEST_P(DecoderTest, SequencesInSlotsAreWhatTheyAreAlone) {
  constexpr int64_t kSlots = 5, kSteps = 4;
  Decoder alone = decoder(1), together = decoder(kSlots);
  std::vector<std::vector<int32_t>> texts;
  for (int64_t slot = 0; slot < kSlots; ++slot) {
    texts.push_back(random_tokens(20 + static_cast<uint64_t>(slot), 1 + 37 * slot + kSteps));
    together.feed(slot, std::span(texts.back()).first(static_cast<size_t>(1 + 37 * slot)));
  }
  // Some of the slots in some order; the others stay as they are.
  const std::vector<std::vector<int64_t>> order = {{3, 0, 4}, {1}, {4, 3, 2, 1, 0}, {2, 0}};
  std::vector<std::vector<float>> last(kSlots);
  for (const auto& slots : order) {
    std::vector<Decoder::Continuation> continuations;
    for (const int64_t slot : slots)
      continuations.push_back({slot, texts[static_cast<size_t>(slot)][static_cast<size_t>(together.position(slot))]});
    const std::vector<float> rows = together.step(continuations);
    ASSERT_EQ(std::ssize(rows), std::ssize(slots) * kVocab);
    for (size_t i = 0; i < slots.size(); ++i) {
      const auto row = rows.begin() + static_cast<std::ptrdiff_t>(i) * kVocab;
      last[static_cast<size_t>(slots[i])].assign(row, row + kVocab);
    }
  }
  for (int64_t slot = 0; slot < kSlots; ++slot) {
    alone.begin(0);
    const auto whole = std::span(texts[static_cast<size_t>(slot)]);
    expect_same(last[static_cast<size_t>(slot)],
                alone.feed(0, whole.first(static_cast<size_t>(together.position(slot)))));
  }
}

TEST_P(DecoderTest, ScoresAreTheLogarithmsOfTheSoftmax) {
  Decoder decoder = this->decoder(2);
  const std::vector<int32_t> tokens = random_tokens(7, 300);
  std::vector<Decoder::Scored> scored, rest;
  const std::vector<float> logits = decoder.feed_scored(0, tokens, 3, scored);
  ASSERT_EQ(scored.size(), tokens.size());
  EXPECT_TRUE(std::isnan(scored[0].log_probability));
  EXPECT_TRUE(scored[0].top.empty());
  expect_same(logits, decoder.feed(1, tokens));

  decoder.begin(1);
  std::vector<float> before = decoder.feed(1, std::span(tokens).first(1));
  for (size_t i = 1; i < 40; ++i) {
    double sum = 0;
    for (const float z : before) sum += std::exp(static_cast<double>(z));
    const auto want = [&](int32_t token) { return before[static_cast<size_t>(token)] - std::log(sum); };
    EXPECT_NEAR(scored[i].log_probability, want(tokens[i]), 10 * tolerance());
    ASSERT_EQ(scored[i].top.size(), 3U);
    EXPECT_NEAR(scored[i].top[0].second, *std::max_element(before.begin(), before.end()) - std::log(sum),
                10 * tolerance());
    for (const auto& [token, log_probability] : scored[i].top)
      EXPECT_NEAR(log_probability, want(token), 10 * tolerance());
    before = decoder.feed(1, std::span(tokens).subspan(i, 1));
  }
  // A sequence that goes on: its first token too has something before it.
  decoder.feed_scored(1, std::span(tokens).subspan(40), 1, rest);
  EXPECT_NEAR(rest[0].log_probability, scored[40].log_probability, 10 * tolerance());
}

// What the device draws from what it computed itself is what its operation draws from the logits on the host.
TEST_P(DecoderTest, TokensDrawnOnTheDeviceContinueTheirSequences) {
  constexpr int64_t kSlots = 3, kSteps = 12;
  Decoder device = decoder(kSlots), host = decoder(kSlots);
  std::vector<uint8_t> drawable(kVocab, 1);
  drawable[7] = drawable[20] = 0;
  device.set_drawable(drawable);
  std::vector<Decoder::Draw> draws = {
      {.slot = 2, .sampling = {.temperature = 0}, .token = 4},
      {.slot = 0, .sampling = {.top_p = 0.8F, .key = 99}, .token = 5},
      {.slot = 1, .sampling = {.temperature = 1.5F, .top_k = 5, .key = 98}, .token = 6}};
  for (const Decoder::Draw& draw : draws) {
    device.feed(draw.slot, random_tokens(static_cast<uint64_t>(draw.slot), 40));
    host.feed(draw.slot, random_tokens(static_cast<uint64_t>(draw.slot), 40));
  }
  std::vector<Decoder::Continuation> continuations;
  for (const Decoder::Draw& draw : draws) continuations.push_back({draw.slot, draw.token});
  const auto cpu = make_cpu_backend(1);
  device.queue_step(draws);
  for (Decoder::Draw& draw : draws) draw.token = -1;
  for (int64_t step = 0; step < kSteps; ++step) {
    if (step + 1 < kSteps) device.queue_step(draws);
    const std::vector<int32_t> tokens = device.next_tokens();
    ASSERT_EQ(tokens.size(), draws.size());
    const std::vector<float> logits = host.step(continuations);
    const DeviceTensor z(*cpu, DType::kFloat32, {kSlots, kVocab}, Values(logits.begin(), logits.end()));
    Values options, top_k, keys, positions;
    for (const Decoder::Draw& draw : draws) {
      options.insert(options.end(), {draw.sampling.temperature, draw.sampling.top_p, draw.sampling.min_p});
      top_k.push_back(draw.sampling.top_k);
      keys.insert(keys.end(), {static_cast<double>(draw.sampling.key), 0});
      positions.push_back(static_cast<double>(40 + step));
    }
    const DeviceTensor want(*cpu, DType::kInt32, {kSlots});
    cpu->sample_tokens(
        {.logits = z,
         .drawable = DeviceTensor(*cpu, DType::kUint8, {kVocab}, Values(drawable.begin(), drawable.end())),
         .options = DeviceTensor(*cpu, DType::kFloat32, {kSlots, 3}, options),
         .top_k = DeviceTensor(*cpu, DType::kInt32, {kSlots}, top_k),
         .keys = DeviceTensor(*cpu, DType::kInt32, {kSlots, 2}, keys),
         .positions = DeviceTensor(*cpu, DType::kInt32, {kSlots}, positions),
         .places = DeviceTensor(*cpu, DType::kInt32, {kSlots}, {0, 1, 2}),
         .tokens = want});
    const Values drawn = want.values();
    for (size_t i = 0; i < draws.size(); ++i) {
      EXPECT_EQ(tokens[i], static_cast<int32_t>(drawn[i])) << "row " << i << " of step " << step;
      continuations[i].token = tokens[i];
    }
  }
  EXPECT_EQ(device.position(1), 40 + kSteps);
}

// A step of more rows than the thin products take, and of a number that is no power of two.
TEST_P(DecoderTest, StepsMayHaveAnyNumberOfRows) {
  constexpr int64_t kSlots = 21;
  Decoder together = decoder(kSlots), alone = decoder(1);
  for (const int64_t rows : {1, 2, 3, 7, 8, 9, 17, 21}) {
    for (int repeat = 0; repeat < 3; ++repeat) {  // as ever, recorded, queued
      std::vector<Decoder::Continuation> continuations;
      for (int64_t i = 0; i < rows; ++i)
        continuations.push_back({kSlots - 1 - i, static_cast<int32_t>((5 * i + rows + repeat) % kVocab)});
      const std::vector<float> logits = together.step(continuations);
      if (repeat < 2) continue;
      for (const int64_t i : {int64_t{0}, rows / 2, rows - 1}) {
        const Decoder::SavedState after = together.save(continuations[static_cast<size_t>(i)].slot);
        EXPECT_GT(after.position, 0);
        const auto row = logits.begin() + i * kVocab;
        EXPECT_TRUE(std::all_of(row, row + kVocab, [](float z) { return std::isfinite(z); }));
      }
    }
  }
  // The last slot but one took part in the steps of two rows and more: the same tokens alone.
  std::vector<float> want;
  for (const int64_t rows : {2, 3, 7, 8, 9, 17, 21}) {
    for (int repeat = 0; repeat < 3; ++repeat) {
      const auto token = static_cast<int32_t>((5 + rows + repeat) % kVocab);
      want = alone.feed(0, std::span(&token, 1));
    }
  }
  const std::vector<float> got = together.step(std::vector<Decoder::Continuation>{{kSlots - 2, 11}});
  const int32_t last = 11;
  expect_same(got, alone.feed(0, std::span(&last, 1)));
}

TEST_P(DecoderTest, AStateComesBackFromTheHostToTheLastBit) {
  Decoder decoder = this->decoder(3);
  const std::vector<int32_t> prompt = random_tokens(5, 70);
  decoder.feed(1, prompt);
  const Decoder::SavedState saved = decoder.save(1);
  EXPECT_EQ(std::ssize(saved.layers), decoder.state_bytes());
  EXPECT_EQ(saved.position, 70);
  decoder.load(2, saved);
  EXPECT_EQ(decoder.save(2).layers, saved.layers);
  EXPECT_EQ(decoder.feed(2, random_tokens(6, 9)), decoder.feed(1, random_tokens(6, 9)));
  decoder.begin(2);
  EXPECT_EQ(decoder.position(2), 0);
  EXPECT_EQ(decoder.feed(2, prompt), decoder.feed(0, prompt)) << "something was left of the sequence before";
  EXPECT_THROW(decoder.load(0, {.position = 1, .layers = {}}), Error);
}

INSTANTIATE_TEST_SUITE_P(Backends, DecoderTest, testing::ValuesIn(backend_cases()), backend_case_name);

}  // namespace
}  // namespace retain::test
