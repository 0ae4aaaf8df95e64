#include "trainer/data/batch_order.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>

#include "kernels/core/error.h"
#include "kernels/core/random.h"

namespace retain {
namespace {

constexpr int kRounds = 8;
constexpr int64_t kShareTotal = int64_t{1} << 30;  // products of two shares stay below 2^63

/// floor(n · share / total) without leaving 64 bits.
int64_t share_of(int64_t n, int64_t share, int64_t total) { return n / total * share + n % total * share / total; }

/// The power of ten that makes whole numbers of all weights, as people write them: 10 of 0.7 and 0.3. 0 when there is
/// none.
double decimal_unit(const std::vector<double>& weights) {
  const auto is_whole = [](double x) {
    return std::abs(x - std::round(x)) <= 4 * std::numeric_limits<double>::epsilon() * x;
  };
  for (double unit = 1; unit <= static_cast<double>(kShareTotal); unit *= 10)
    if (std::all_of(weights.begin(), weights.end(), [&](double weight) { return is_whole(weight * unit); }))
      return unit;
  return 0;
}

}  // namespace

Permutation::Permutation(uint64_t size, uint64_t key) : size_(size), key_(key) {
  RETAIN_CHECK(size > 0 && size <= uint64_t{1} << 62, "size ", size);
  const int bits = std::bit_width(size - 1);
  low_bits_ = bits / 2;
  low_mask_ = (uint64_t{1} << low_bits_) - 1;
  high_mask_ = (uint64_t{1} << (bits - low_bits_)) - 1;
}

uint64_t Permutation::scramble(uint64_t index) const {
  uint64_t low = index & low_mask_, high = index >> low_bits_;
  for (uint64_t round = 0; round < kRounds; round += 2) {  // halves have at most 31 bits, so the counter holds both
    high ^= philox_bits(key_, round << 32 | low) & high_mask_;
    low ^= philox_bits(key_, (round + 1) << 32 | high) & low_mask_;
  }
  return high << low_bits_ | low;
}

uint64_t Permutation::operator()(uint64_t index) const {
  RETAIN_CHECK(index < size_, "index ", index, " of ", size_);
  do {
    index = scramble(index);
  } while (index >= size_);
  return index;
}

WeightedInterleave::WeightedInterleave(const std::vector<double>& weights) {
  double sum = 0;
  for (const double weight : weights) {
    RETAIN_CHECK(std::isfinite(weight) && weight >= 0, "weight ", weight);
    sum += weight;
  }
  RETAIN_CHECK(sum > 0, "the weights of ", weights.size(), " sources add up to ", sum);
  const double unit = decimal_unit(weights), most = static_cast<double>(kShareTotal);
  const bool exact = unit > 0 && sum * unit <= most;
  for (const double weight : weights) {
    const double share = std::round(exact ? weight * unit : weight / sum * most);
    shares_.push_back(weight > 0 ? std::max(int64_t{1}, static_cast<int64_t>(share)) : 0);
  }
  const int64_t divisor = std::reduce(shares_.begin(), shares_.end(), int64_t{0}, std::gcd<int64_t, int64_t>);
  for (int64_t& share : shares_) total_ += share /= divisor;
}

WeightedInterleave::Slot WeightedInterleave::at(int64_t sample) const {
  // Source 0 takes its share of all slots, source 1 its share of what is left, and so on.
  int64_t n = sample, total = total_;
  for (size_t source = 0;; ++source) {
    RETAIN_CHECK(source < shares_.size(), "no source for sample ", sample);
    const int64_t before = share_of(n, shares_[source], total);
    if (share_of(n + 1, shares_[source], total) > before) return {static_cast<int64_t>(source), before};
    n -= before;
    total -= shares_[source];
  }
}

int64_t whole_windows(int64_t tokens, int64_t seq_len) { return tokens > 0 ? (tokens - 1) / seq_len : 0; }

BatchOrder::BatchOrder(std::vector<int64_t> windows, const std::vector<double>& weights, uint64_t seed)
    : windows_(std::move(windows)), interleave_(weights), seed_(seed) {
  RETAIN_CHECK(windows_.size() == weights.size(), windows_.size(), " sources, ", weights.size(), " weights");
  for (const int64_t count : windows_) RETAIN_CHECK(count > 0, "a source has ", count, " windows");
}

Sample BatchOrder::at(int64_t sample) const {
  const auto [source, ordinal] = interleave_.at(sample);
  const int64_t windows = windows_[static_cast<size_t>(source)], epoch = ordinal / windows;
  const Permutation order(static_cast<uint64_t>(windows), stream_key(seed_, concat("data/", source, "/", epoch)));
  return {source, static_cast<int64_t>(order(static_cast<uint64_t>(ordinal % windows))), epoch};
}

}  // namespace retain
