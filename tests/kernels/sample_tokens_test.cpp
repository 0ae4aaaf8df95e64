#include "kernels/core/sampling.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "tests/support/backends.h"

namespace retain::test {
namespace {

constexpr double kNever = -std::numeric_limits<double>::infinity();

struct Options {
  double temperature = 1, top_p = 1, min_p = 0;
  int64_t top_k = 0;
};

class SampleTokens : public BackendTest {
 protected:
  /// One row of logits drawn from at the positions 0, 1, …
  std::vector<int32_t> draw(const Values& logits, const Options& o, int64_t count, const Values& drawable = {}) {
    return draw_on(backend(), compute(), logits, o, count, drawable);
  }
  static std::vector<int32_t> draw_on(Backend& backend, DType type, const Values& logits, const Options& o,
                                      int64_t count, const Values& drawable = {}) {
    const auto vocab = static_cast<int64_t>(logits.size());
    Values rows, options, keys, positions, places;
    for (int64_t i = 0; i < count; ++i) {
      rows.insert(rows.end(), logits.begin(), logits.end());
      options.insert(options.end(), {o.temperature, o.top_p, o.min_p});
      keys.insert(keys.end(), {77, -5});
      positions.push_back(static_cast<double>(i));
      places.push_back(static_cast<double>(count - 1 - i));
    }
    const DeviceTensor z(backend, type, {count, vocab}, rows);
    const DeviceTensor settings(backend, DType::kFloat32, {count, 3}, options);
    const DeviceTensor key(backend, DType::kInt32, {count, 2}, keys), tokens(backend, DType::kInt32, {count});
    const DeviceTensor at(backend, DType::kInt32, {count}, positions), to(backend, DType::kInt32, {count}, places);
    const DeviceTensor top_k(backend, DType::kInt32, {count}, Values(count, static_cast<double>(o.top_k)));
    const DeviceTensor mask = drawable.empty() ? DeviceTensor(backend, DType::kUint8, {1})
                                               : DeviceTensor(backend, DType::kUint8, {vocab}, drawable);
    backend.sample_tokens({.logits = z,
                           .drawable = drawable.empty() ? TensorView{} : mask.view(),
                           .options = settings,
                           .top_k = top_k,
                           .keys = key,
                           .positions = at,
                           .places = to,
                           .tokens = tokens});
    const Values drawn = tokens.values();
    return {drawn.rbegin(), drawn.rend()};
  }

  static Values frequencies(const std::vector<int32_t>& drawn, size_t vocab) {
    Values seen(vocab, 0.0);
    for (const int32_t token : drawn) {
      EXPECT_GE(token, 0);
      if (token >= 0) seen[static_cast<size_t>(token)] += 1.0 / static_cast<double>(drawn.size());
    }
    return seen;
  }
};

/// exp(z / temperature) of the tokens that are kept, over their sum.
Values probabilities(const Values& logits, double temperature, const std::vector<bool>& kept) {
  Values p;
  double sum = 0;
  for (size_t j = 0; j < logits.size(); ++j) {
    p.push_back(kept[j] ? std::exp(logits[j] / temperature) : 0);
    sum += p.back();
  }
  for (double& x : p) x /= sum;
  return p;
}

TEST_P(SampleTokens, DrawsAsOftenAsTheSoftmaxSays) {
  constexpr int64_t kDraws = 8000;
  const Values logits = {0.5, 2, -1, 1.5, kNever, 0, 2};
  for (const double temperature : {0.5, 1.0, 3.0}) {
    const Values seen = frequencies(draw(logits, {.temperature = temperature}, kDraws), logits.size());
    const Values want = probabilities(logits, temperature, std::vector<bool>(logits.size(), true));
    for (size_t j = 0; j < logits.size(); ++j) EXPECT_NEAR(seen[j], want[j], 0.02) << j << " at " << temperature;
  }
}

TEST_P(SampleTokens, KeepsWhatTopKTopPAndMinPSay) {
  constexpr int64_t kDraws = 4000;
  const Values logits = {0.5, 2, -1, 1.5, 0, 2};
  const auto check = [&](const Options& o, const std::vector<bool>& kept) {
    const Values seen = frequencies(draw(logits, o, kDraws), logits.size());
    const Values want = probabilities(logits, 1, kept);
    for (size_t j = 0; j < logits.size(); ++j) {
      EXPECT_NEAR(seen[j], want[j], 0.03) << j;
      EXPECT_EQ(seen[j] > 0, kept[j]) << j;
    }
  };
  // Probabilities: 0.074 0.332 0.017 0.201 0.045 0.332.
  check({.top_k = 1}, {false, true, false, false, false, true});  // both that are likeliest
  check({.top_k = 3}, {false, true, false, true, false, true});
  check({.top_p = 0.8}, {false, true, false, true, false, true});
  check({.top_p = 0.6}, {false, true, false, false, false, true});
  check({.top_p = 0.86}, {false, true, false, true, false, true});
  check({.top_p = 0.93}, {true, true, false, true, false, true});
  check({.top_p = 0}, {false, true, false, false, false, true});
  check({.min_p = 0.15}, {true, true, false, true, false, true});
  check({.min_p = 2}, {false, true, false, false, false, true});
  check({.top_p = 0.93, .min_p = 0.3}, {false, true, false, true, false, true});
}

TEST_P(SampleTokens, TakesTheFirstOfTheLikeliestAtZeroTemperature) {
  EXPECT_EQ(draw({1, 3, 2, 3}, {.temperature = 0}, 1)[0], 1);
  EXPECT_EQ(draw({1, 3, 2, 3}, {.temperature = 0}, 1, {1, 0, 1, 1})[0], 3);
  EXPECT_EQ(draw({-5, -7}, {.temperature = 0}, 1)[0], 0);
}

TEST_P(SampleTokens, NeverDrawsWhatCannotBeDrawn) {
  for (const int32_t token : draw({9, 1, 9, 1.2}, {}, 500, {0, 1, 0, 1})) EXPECT_TRUE(token == 1 || token == 3);
  EXPECT_EQ(draw({kNever, kNever}, {}, 1)[0], -1);
  EXPECT_EQ(draw({1, 2}, {}, 1, {0, 0})[0], -1);
  EXPECT_EQ(draw({1, std::nan("")}, {}, 1)[0], -1);
  EXPECT_EQ(draw({1, -kNever}, {.temperature = 0}, 1)[0], -1);
}

TEST_P(SampleTokens, LeavesRowsWithoutAPlaceAlone) {
  const DeviceTensor z = activation({2, 3}, {1, 2, 3, 4, 5, 6}), tokens = integers({2}, {42, 43});
  const DeviceTensor options(backend(), DType::kFloat32, {2, 3}, {0, 1, 0, 0, 1, 0});
  const DeviceTensor zeros = integers({2}, {0, 0}), keys = integers({2, 2}, {0, 0, 0, 0});
  const DeviceTensor places = integers({2}, {-1, 1});
  backend().sample_tokens({.logits = z,
                           .options = options,
                           .top_k = zeros,
                           .keys = keys,
                           .positions = zeros,
                           .places = places,
                           .tokens = tokens});
  EXPECT_EQ(tokens.values(), (Values{42, 2}));
}

// Whatever the vocabulary and the filter: the tokens of the CPU.
TEST_P(SampleTokens, EqualLogitsGiveEqualTokensOnEveryBackend) {
  const auto cpu = make_cpu_backend(1);
  for (const int64_t vocab : {1, 7, 257, 5000, 50304}) {
    const Values logits = rounded(compute(), random_values(vocab, static_cast<uint64_t>(vocab), 3));
    for (const Options& o : std::vector<Options>{{},
                                                 {.temperature = 0.7, .top_p = 0.9},
                                                 {.temperature = 1.3, .top_k = 40},
                                                 {.min_p = 0.05},
                                                 {.temperature = 2, .top_p = 0.95, .min_p = 0.01, .top_k = 100},
                                                 {.temperature = 0}}) {
      EXPECT_EQ(draw(logits, o, 12), draw_on(*cpu, DType::kFloat32, logits, o, 12)) << vocab;
    }
  }
}

TEST(SamplingWeight, IsTheExponentialToSevenDigitsAndNowhereGrows) {
  const float scale = sampling_scale(1);
  EXPECT_EQ(sampling_weight(3, 3, scale), uint64_t{1} << 40);
  EXPECT_EQ(sampling_weight(static_cast<float>(kNever), 3, scale), 0U);
  EXPECT_EQ(sampling_weight(-30, 3, scale), 0U);
  uint64_t before = uint64_t{1} << 40;
  for (int i = 1; i < 20000; ++i) {
    const float z = -static_cast<float>(i) * 1e-3F;
    const uint64_t weight = sampling_weight(z, 0, scale);
    EXPECT_LE(weight, before) << z;
    EXPECT_NEAR(static_cast<double>(weight) / std::exp2(40.0) / std::exp(static_cast<double>(z)), 1,
                3e-6 + std::exp2(-40.0) / std::exp(static_cast<double>(z)));
    before = weight;
  }
}

INSTANTIATE_TEST_SUITE_P(Backends, SampleTokens, testing::ValuesIn(backend_cases()), backend_case_name);

}  // namespace
}  // namespace retain::test
