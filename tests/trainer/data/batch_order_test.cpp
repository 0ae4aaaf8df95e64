#include "trainer/data/batch_order.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>
#include <string>

#include <gtest/gtest.h>

#include "kernels/core/error.h"
#include "kernels/core/random.h"

namespace retain {
namespace {

std::vector<uint64_t> images(uint64_t size, uint64_t key) {
  const Permutation permutation(size, key);
  std::vector<uint64_t> out;
  for (uint64_t i = 0; i < size; ++i) out.push_back(permutation(i));
  return out;
}

TEST(Permutation, IsABijectionOfEverySmallRange) {
  for (uint64_t size = 1; size <= 300; ++size) {
    for (const uint64_t key : {0, 1, 12345}) {
      const std::vector<uint64_t> out = images(size, key);
      const std::set<uint64_t> distinct(out.begin(), out.end());
      ASSERT_EQ(distinct.size(), size);
      ASSERT_EQ(*distinct.rbegin(), size - 1);
    }
  }
}

TEST(Permutation, IsABijectionOfALargeRange) {
  for (const uint64_t size : {65'536U, 65'537U, 200'003U}) {
    std::vector<bool> seen(size);
    for (const uint64_t image : images(size, 7)) {
      ASSERT_LT(image, size);
      ASSERT_FALSE(seen[image]);
      seen[image] = true;
    }
  }
}

TEST(Permutation, StaysInsideRangesBeyond32Bits) {
  for (const uint64_t size : {uint64_t{1} << 32, (uint64_t{1} << 40) + 1, uint64_t{1} << 62}) {
    const Permutation permutation(size, 3);
    std::set<uint64_t> distinct;
    for (uint64_t i = 0; i < 1000; ++i) {
      const uint64_t image = permutation(size - 1 - i);
      EXPECT_LT(image, size);
      distinct.insert(image);
    }
    EXPECT_EQ(distinct.size(), 1000);
  }
}

TEST(Permutation, DependsOnTheKey) {
  EXPECT_EQ(images(1000, 1), images(1000, 1));
  EXPECT_NE(images(1000, 1), images(1000, 2));
}

TEST(Permutation, LooksUniform) {
  // Where index 5 of 12 goes over 12,000 keys: each place 1000 times, standard deviation 30.
  std::vector<int> counts(12, 0);
  for (uint64_t key = 0; key < 12'000; ++key) ++counts[Permutation(12, key)(5)];
  for (const int count : counts) EXPECT_NEAR(count, 1000, 150);
  // Neighbours do not stay neighbours, and the correlation of place and image is noise (deviation n^-½ = 0.01).
  const std::vector<uint64_t> out = images(10'000, 9);
  int adjacent = 0;
  double correlation = 0;
  for (size_t i = 0; i < out.size(); ++i) {
    correlation += (static_cast<double>(i) - 4999.5) * (static_cast<double>(out[i]) - 4999.5);
    if (i > 0) adjacent += out[i] == out[i - 1] + 1;
  }
  EXPECT_LT(adjacent, 10);
  EXPECT_LT(std::abs(correlation) / (10'000 * 10'000.0 * 10'000.0 / 12), 0.05);
}

const std::vector<std::vector<double>> kBlends = {{1},
                                                  {1, 1},
                                                  {0.7, 0.3},
                                                  {0.7, 0.2, 0.1},
                                                  {1, 2, 7},
                                                  {3, 1, 4, 1, 5},
                                                  {1, 0, 2},
                                                  {1e-6, 1},
                                                  {0, 0, 1},
                                                  {0.333, 0.333, 0.334, 5},
                                                  {5, 4, 4, 4, 4, 4, 4, 3, 1, 1, 1, 1}};

/// The most that the count of a source is away from its share of any prefix.
template <class Interleave>
double farthest(const std::vector<double>& weights, int64_t samples) {
  const std::vector<int64_t> shares = shares_of(weights);
  const Interleave interleave(shares);
  const auto total = static_cast<double>(std::accumulate(shares.begin(), shares.end(), int64_t{0}));
  std::vector<int64_t> counts(weights.size(), 0);
  double worst = 0;
  for (int64_t n = 0; n < samples; ++n) {
    const auto [source, ordinal] = interleave.at(n);
    int64_t& count = counts[static_cast<size_t>(source)];
    EXPECT_EQ(ordinal, count);
    ++count;
    for (size_t k = 0; k < weights.size(); ++k) {
      const double share = static_cast<double>(n + 1) * static_cast<double>(shares[k]) / total;
      worst = std::max(worst, std::abs(static_cast<double>(counts[k]) - share));
    }
  }
  return worst;
}

TEST(EvenInterleave, IsLessThanASampleAwayInEveryPrefix) {
  for (const auto& weights : kBlends) EXPECT_LT(farthest<EvenInterleave>(weights, 5000), 1);
  // Blends drawn at random, for longer than their period.
  for (uint64_t draw = 0; draw < 300; ++draw) {
    std::vector<double> weights;
    for (uint64_t k = 0; k < 2 + draw % 11; ++k) weights.push_back(1 + static_cast<double>(philox_bits(draw, k) % 40));
    EXPECT_LT(farthest<EvenInterleave>(weights, 1000), 1) << draw;
  }
}

TEST(EvenInterleave, WeightsThatAreNoRatioAreRoundedToAMillionth) {
  const std::vector<double> weights = {std::sqrt(2.0), std::acos(-1.0), 1e-9};
  const double sum = weights[0] + weights[1] + weights[2];
  const EvenInterleave interleave(shares_of(weights));
  constexpr int64_t kSamples = 3'000'000;  // some periods
  std::vector<int64_t> counts(3, 0);
  for (int64_t n = 0; n < kSamples; ++n) ++counts[static_cast<size_t>(interleave.at(n).source)];
  for (size_t k = 0; k < 2; ++k) EXPECT_NEAR(static_cast<double>(counts[k]), kSamples * weights[k] / sum, 5);
  EXPECT_NEAR(static_cast<double>(counts[2]), kSamples / 1048576.0, 1) << "once in a period, however little it weighs";
}

TEST(NestedInterleave, IsTheOrderOfOlderReleases) {
  for (const auto& weights : kBlends)
    EXPECT_LT(farthest<NestedInterleave>(weights, 5000), static_cast<double>(weights.size()));
  EXPECT_NEAR(farthest<NestedInterleave>({1, 2, 7}, 5000), 1.4, 0.01);
  const NestedInterleave interleave({1, 2, 7});
  std::string sources;
  for (int64_t n = 0; n < 20; ++n) sources += static_cast<char>('0' + interleave.at(n).source);
  EXPECT_EQ(sources, "22221222102222122210");
}

TEST(Interleaves, AreExactForWholeWeightsFarIntoARun) {
  const int64_t far = int64_t{7} * 1'000'000'000'000;
  const auto expect = [&](const auto& interleave) {
    std::vector<int64_t> counts(3, 0);
    for (int64_t i = 0; i < 7; ++i) {
      const auto [source, ordinal] = interleave.at(far + i);
      EXPECT_EQ(ordinal, (int64_t{1} << source) * 1'000'000'000'000 + counts[static_cast<size_t>(source)]++);
    }
    EXPECT_EQ(counts, (std::vector<int64_t>{1, 2, 4}));
  };
  expect(EvenInterleave({1, 2, 4}));
  expect(NestedInterleave({1, 2, 4}));
}

TEST(Shares, AreTheProportionAlone) {
  const std::vector<int64_t> shares = {2, 5, 0, 13};
  EXPECT_EQ(shares_of({0.1, 0.25, 0, 0.65}), shares);
  EXPECT_EQ(shares_of({30, 75, 0, 195}), shares);
  EXPECT_EQ(shares_of({5}), std::vector<int64_t>{1});
}

TEST(Shares, RefuseWeightsThatMeanNothing) {
  EXPECT_THROW(shares_of({}), Error);
  EXPECT_THROW(shares_of({0, 0}), Error);
  EXPECT_THROW(shares_of({1, -1}), Error);
  EXPECT_THROW(shares_of({1, std::nan("")}), Error);
}

TEST(BatchOrder, ReadsEachSourceOnceInEachEpochOfItsOwn) {
  const BatchOrder order({10, 4}, {1, 1}, 42);
  std::vector<std::set<int64_t>> epochs(10);
  for (int64_t i = 0; i < 40; ++i) {
    const Sample sample = order.at(i);
    const auto slot = static_cast<size_t>(sample.source == 0 ? sample.epoch : 2 + sample.epoch);
    EXPECT_TRUE(epochs.at(slot).insert(sample.window).second);
  }
  for (size_t slot = 0; slot < 2; ++slot) EXPECT_EQ(epochs[slot].size(), 10);
  for (size_t slot = 2; slot < 7; ++slot) EXPECT_EQ(epochs[slot].size(), 4);
}

TEST(BatchOrder, DrawsANewOrderForEachEpochAndSeed) {
  const auto epoch = [](uint64_t seed, int64_t number) {
    const BatchOrder order({100}, {1}, seed);
    std::vector<int64_t> windows;
    for (int64_t i = 0; i < 100; ++i) windows.push_back(order.at(number * 100 + i).window);
    return windows;
  };
  EXPECT_EQ(epoch(1, 0), epoch(1, 0));
  EXPECT_NE(epoch(1, 0), epoch(1, 1));
  EXPECT_NE(epoch(1, 0), epoch(2, 0));
}

TEST(BatchOrder, CountsWindowsWithTheirLastTarget) {
  EXPECT_EQ(whole_windows(0, 4), 0);
  EXPECT_EQ(whole_windows(4, 4), 0);
  EXPECT_EQ(whole_windows(5, 4), 1);
  EXPECT_EQ(whole_windows(8, 4), 1);
  EXPECT_EQ(whole_windows(9, 4), 2);
}

}  // namespace
}  // namespace retain
