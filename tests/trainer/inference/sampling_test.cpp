#include "trainer/inference/sampling.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <set>
#include <span>
#include <vector>

#include "kernels/backend.h"
#include "kernels/core/error.h"
#include "kernels/core/random.h"

namespace retain::test {
namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();
using Logits = std::vector<float>;

/// Which tokens come in many draws.
std::set<int32_t> drawn(const Logits& logits, const SamplingOptions& options, uint64_t draws = 3000) {
  std::set<int32_t> tokens;
  for (uint64_t i = 0; i < draws; ++i) tokens.insert(sample_token(logits, options, i));
  return tokens;
}

/// Logits whose probabilities are these.
Logits logits_of(const std::vector<double>& probabilities) {
  Logits logits;
  for (const double p : probabilities) logits.push_back(static_cast<float>(std::log(p)));
  return logits;
}

TEST(Sampler, TakesTheLikeliestAtZeroTemperatureAndRespectsTopP) {
  const Logits logits = {0.0, 3.0, 2.9, -1.0};
  EXPECT_EQ(sample_token(logits, {.temperature = 0}, 0), 1);
  std::array<int32_t, 4> seen{};
  for (uint64_t i = 0; i < 4000; ++i) ++seen[sample_token(logits, {.temperature = 1, .top_p = 0.6, .seed = 2}, i)];
  EXPECT_EQ(seen[0] + seen[3], 0);  // the two likeliest hold more than 0.6 of the probability
  EXPECT_NEAR(seen[1] / 4000.0, 1 / (1 + std::exp(-0.1)), 0.03);
}

TEST(Sampler, NeverDrawsWhatCannotBeDrawn) {
  const Logits logits = {kNever, 0.1, kNever, 0.3, kNever};
  for (const double temperature : {0.0, 1e-9, 1.0, 100.0}) {
    for (const double top_p : {1e-9, 0.5, 1.0}) {
      for (const int32_t token : drawn(logits, {.temperature = temperature, .top_k = 4, .top_p = top_p}, 300))
        ASSERT_TRUE(token == 1 || token == 3) << token;
    }
  }
  const Logits alone = {0.1, 0.3};  // the others count as nothing in the softmax
  for (uint64_t i = 0; i < 300; ++i) EXPECT_EQ(sample_token(logits, {}, i), 2 * sample_token(alone, {}, i) + 1);
  for (const Logits& broken : {Logits{kNever, kNever}, Logits{0, std::nanf("")}, Logits{0, -kNever}, Logits{}})
    EXPECT_THROW(sample_token(broken, {}, 0), Error);
}

TEST(Sampler, KeepsWhatEachThresholdKeepsTiesIncluded) {
  const Logits logits = logits_of({0.1, 0.4, 0.1, 0.25, 0.1, 0.05});
  using Set = std::set<int32_t>;
  EXPECT_EQ(drawn(logits, {}), (Set{0, 1, 2, 3, 4, 5}));
  EXPECT_EQ(drawn(logits, {.top_k = 1}), Set{1});
  EXPECT_EQ(drawn(logits, {.top_k = 2}), (Set{1, 3}));
  EXPECT_EQ(drawn(logits, {.top_k = 3}), (Set{0, 1, 2, 3, 4}));  // three are equally likely
  EXPECT_EQ(drawn(logits, {.top_k = 99}), (Set{0, 1, 2, 3, 4, 5}));
  EXPECT_EQ(drawn(logits, {.top_p = 0.3}), Set{1});
  EXPECT_EQ(drawn(logits, {.top_p = 0.6}), (Set{1, 3}));
  EXPECT_EQ(drawn(logits, {.top_p = 0.7}), (Set{0, 1, 2, 3, 4}));
  EXPECT_EQ(drawn(logits, {.min_p = 0.2}), (Set{0, 1, 2, 3, 4}));
  EXPECT_EQ(drawn(logits, {.min_p = 0.5}), (Set{1, 3}));
  EXPECT_EQ(drawn(logits, {.top_k = 2, .top_p = 0.7}), (Set{1, 3}));
  EXPECT_EQ(drawn(logits, {.top_k = 2, .top_p = 0.39}), Set{1});
  EXPECT_EQ(drawn(logits, {.temperature = 0.5, .min_p = 0.2}), (Set{1, 3}));  // 0.1 / 0.4 squared is 0.06
}

TEST(Sampler, KeepsTheSmallestSetThatReachesTheShareOfManyTokens) {
  Logits logits;
  for (uint64_t i = 0; i < 5000; ++i) logits.push_back(static_cast<float>(3 * philox_normal(7, i)));
  Logits sorted = logits;
  std::sort(sorted.rbegin(), sorted.rend());
  const auto weight = [&](float z) { return std::exp(static_cast<double>(z) - sorted[0]); };
  double total = 0, mass = 0;
  for (const float z : sorted) total += weight(z);
  size_t kept = 0;
  while (mass < 0.9 * total) mass += weight(sorted[kept++]);
  int32_t outside = 0;
  for (uint64_t i = 0; i < 2000; ++i)
    outside += logits[sample_token(logits, {.top_p = 0.9, .seed = 3}, i)] < sorted[kept - 1] ? 1 : 0;
  EXPECT_EQ(outside, 0);
  EXPECT_GT(drawn(logits, {.top_p = 0.9}).size(), 100U);
}

TEST(Sampler, DrawsInProportionAndByNumberAndSeedAlone) {
  const std::vector<double> p = {0.1, 0.4, 0.2, 0.3};
  std::array<double, 4> counts{};
  for (uint64_t i = 0; i < 20000; ++i) counts[sample_token(logits_of(p), {.seed = 9}, i)] += 1;
  for (size_t i = 0; i < p.size(); ++i) EXPECT_NEAR(counts[i] / 20000, p[i], 0.01);
  EXPECT_EQ(sample_token(logits_of(p), {.seed = 9}, 4), sample_token(logits_of(p), {.seed = 9}, 4));
}

TEST(Sampler, DrawsWhatDevicesDraw) {
  constexpr int64_t kVocab = 300, kRows = 64;
  const auto backend = make_cpu_backend(1);
  Logits logits;
  std::vector<float> options;
  std::vector<int32_t> top_k, keys, positions, places, tokens(kRows, -7);
  for (int32_t i = 0; i < kRows; ++i) {
    for (uint64_t j = 0; j < kVocab; ++j) logits.push_back(static_cast<float>(3 * philox_normal(i, j)));
    options.insert(options.end(), {0.25F * static_cast<float>(i % 5), i % 2 == 0 ? 1.0F : 0.7F, 0.01F * (i % 3)});
    top_k.push_back(i % 4 == 0 ? 0 : i);
    const uint64_t key = stream_key(5, "sampler");
    keys.insert(keys.end(), {static_cast<int32_t>(key), static_cast<int32_t>(key >> 32)});
    positions.push_back(i);
    places.push_back(i);
  }
  backend->sample_tokens({.logits = TensorView(logits.data(), DType::kFloat32, {kRows, kVocab}),
                          .options = TensorView(options.data(), DType::kFloat32, {kRows, 3}),
                          .top_k = TensorView(top_k.data(), DType::kInt32, {kRows}),
                          .keys = TensorView(keys.data(), DType::kInt32, {kRows, 2}),
                          .positions = TensorView(positions.data(), DType::kInt32, {kRows}),
                          .places = TensorView(places.data(), DType::kInt32, {kRows}),
                          .tokens = TensorView(tokens.data(), DType::kInt32, {kRows})});
  for (size_t i = 0; i < kRows; ++i) {
    const SamplingOptions same{.temperature = options[3 * i],
                               .top_k = top_k[i],
                               .top_p = options[3 * i + 1],
                               .min_p = options[3 * i + 2],
                               .seed = 5};
    EXPECT_EQ(tokens[i], sample_token(std::span(logits).subspan(i * kVocab, kVocab), same, i)) << i;
  }
}

TEST(Sampler, PenalizesWhatWasSeen) {
  Logits logits = {2.0, -2.0, 2.0, -2.0};
  SeenTokens seen(4);
  seen.add(std::vector<int32_t>{0, 1, 1});
  seen.penalize(logits, 1);
  EXPECT_EQ(logits, (Logits{2.0, -2.0, 2.0, -2.0}));
  seen.penalize(logits, 4);
  EXPECT_EQ(logits, (Logits{0.5, -8.0, 2.0, -2.0}));
}

}  // namespace
}  // namespace retain::test
