// Robust statistics of spikes: what enters them, and what never does.
#include "trainer/numerics/spikes.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "kernels/core/error.h"
#include "kernels/core/random.h"

namespace retain::test {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN(), kInfinity = std::numeric_limits<double>::infinity();

/// A loss that falls slowly, with noise.
std::vector<double> losses(int64_t count) {
  std::vector<double> values;
  for (int64_t i = 0; i < count; ++i)
    values.push_back(3 + 2 * std::exp(-static_cast<double>(i) / 100) +
                     0.05 * philox_normal(1, static_cast<uint64_t>(i)));
  return values;
}

/// Which of the values are spikes when they are recorded one after the other.
std::vector<bool> decisions(SpikeWindow& window, const std::vector<double>& values) {
  std::vector<bool> spikes;
  for (const double value : values) {
    spikes.push_back(window.is_spike(value));
    window.record(value);
  }
  return spikes;
}

TEST(SpikeWindow, FindsNoneInALossThatFallsAndOneWhereItRises) {
  SpikeWindow window(128, 10);
  for (const bool spike : decisions(window, losses(1000))) EXPECT_FALSE(spike);
  EXPECT_TRUE(window.is_spike(5));
  EXPECT_FALSE(window.is_spike(1)) << "what is better is none";
  EXPECT_GT(window.score(5), 10);
}

TEST(SpikeWindow, KnowsNothingOfTheFirstValues) {
  SpikeWindow window(128, 10);
  for (const bool spike : decisions(window, std::vector<double>(SpikeWindow::kFewest - 1, 1.0))) EXPECT_FALSE(spike);
  EXPECT_FALSE(window.is_spike(1e10));
  window.record(1);
  EXPECT_TRUE(window.is_spike(1e10));
}

TEST(SpikeWindow, AConstantSeriesHasADeviation) {
  SpikeWindow window(128, 10);
  decisions(window, std::vector<double>(200, 2.0));
  EXPECT_FALSE(window.is_spike(2.1));
  EXPECT_TRUE(window.is_spike(2.3));
  SpikeWindow zeros(128, 10);
  decisions(zeros, std::vector<double>(200, 0.0));
  EXPECT_TRUE(zeros.is_spike(1e-3));
  EXPECT_EQ(zeros.score(1e-3), 0) << "no deviation is known";
}

TEST(SpikeWindow, OneOutlierChangesNothingOfWhatIsDecidedLater) {
  const std::vector<double> values = losses(400);
  for (const double outlier : {kNan, kInfinity, -kInfinity, 1e30, -1e30, 1e19, 50.0}) {
    for (const size_t at : {40, 100, 101, 399}) {
      SpikeWindow plain(64, 4), disturbed(64, 4);
      std::vector<double> with = values;
      with.insert(with.begin() + static_cast<std::ptrdiff_t>(at), outlier);
      const std::vector<bool> want = decisions(plain, values);
      std::vector<bool> got = decisions(disturbed, with);
      got.erase(got.begin() + static_cast<std::ptrdiff_t>(at));
      EXPECT_EQ(got, want) << outlier << " at " << at;
      disturbed.record(3), plain.record(3);  // which ends what began
      EXPECT_EQ(disturbed.to_text(), plain.to_text()) << outlier << " at " << at;
    }
  }
}

TEST(SpikeWindow, WhatIsNoNumberNeverEntersHoweverLongItLasts) {
  SpikeWindow window(64, 10);
  decisions(window, losses(100));
  const std::string before = window.to_text();
  for (int i = 0; i < 1000; ++i)
    for (const double value : {kNan, kInfinity, -kInfinity, 1e30, -1e30}) window.record(value);
  EXPECT_EQ(window.to_text(), before);
}

TEST(SpikeWindow, ALevelThatLastsIsANewOne) {
  SpikeWindow window(64, 10);
  decisions(window, losses(100));
  const std::vector<bool> spikes = decisions(window, std::vector<double>(100, 20.0));
  for (size_t i = 0; i < spikes.size(); ++i) EXPECT_EQ(spikes[i], i < static_cast<size_t>(SpikeWindow::kFewest)) << i;
  EXPECT_EQ(window.median(), 20);
}

TEST(SpikeWindow, GoesOnFromItsTextAsIfItHadNeverEnded) {
  std::vector<double> values = losses(300);
  for (size_t i = 150; i < 190; ++i) values[i] += 10;  // in the midst of which some are cut
  for (const size_t cut : {0, 5, 31, 100, 160, 181, 182, 299}) {
    SpikeWindow whole(64, 6), first(64, 6), second(64, 6);
    const std::vector<bool> want = decisions(whole, values);
    const std::vector<double> before(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(cut));
    std::vector<bool> got = decisions(first, before);
    second.from_text(first.to_text());
    const std::vector<double> after(values.begin() + static_cast<std::ptrdiff_t>(cut), values.end());
    const std::vector<bool> rest = decisions(second, after);
    got.insert(got.end(), rest.begin(), rest.end());
    EXPECT_EQ(got, want) << cut;
    EXPECT_EQ(second.to_text(), whole.to_text()) << cut;
  }
}

TEST(SpikeWindow, RefusesATextThatIsNone) {
  SpikeWindow window(64, 6);
  for (const char* text : {"x", "0123", "7ff0000000000000/", "/zzzzzzzzzzzzzzzz"})
    EXPECT_THROW(window.from_text(text), Error) << text;
  window.from_text("");
  EXPECT_EQ(window.limit(), kInfinity);
}

}  // namespace
}  // namespace retain::test
