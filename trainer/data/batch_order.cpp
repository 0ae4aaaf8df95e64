#include "trainer/data/batch_order.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <queue>
#include <tuple>
#include <utility>

#include "kernels/core/error.h"
#include "kernels/core/random.h"

namespace retain {
namespace {

constexpr int kRounds = 8;
constexpr int64_t kLongestPeriod = int64_t{1} << 20;
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

int64_t total_of(const std::vector<int64_t>& shares) { return std::reduce(shares.begin(), shares.end(), int64_t{0}); }

void divide_by_common_divisor(std::vector<int64_t>& shares) {
  const int64_t divisor = std::reduce(shares.begin(), shares.end(), int64_t{0}, std::gcd<int64_t, int64_t>);
  for (int64_t& share : shares) share /= divisor;
}

/// To shares that add up to about the longest period.
void shorten(std::vector<int64_t>& shares) {
  const int64_t total = total_of(shares);
  if (total <= kLongestPeriod) return;
  for (int64_t& share : shares) {
    if (share > 0) share = std::max<int64_t>(1, (share * kLongestPeriod + total / 2) / total);
  }
  divide_by_common_divisor(shares);
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

std::vector<int64_t> shares_of(const std::vector<double>& weights) {
  double sum = 0;
  for (const double weight : weights) {
    RETAIN_CHECK(std::isfinite(weight) && weight >= 0, "weight ", weight);
    sum += weight;
  }
  RETAIN_CHECK(sum > 0, "the weights of ", weights.size(), " sources add up to ", sum);
  const double unit = decimal_unit(weights), most = static_cast<double>(kShareTotal);
  const bool exact = unit > 0 && sum * unit <= most;
  std::vector<int64_t> shares;
  for (const double weight : weights) {
    const double share = std::round(exact ? weight * unit : weight / sum * most);
    shares.push_back(weight > 0 ? std::max(int64_t{1}, static_cast<int64_t>(share)) : 0);
  }
  divide_by_common_divisor(shares);
  return shares;
}

EvenInterleave::EvenInterleave(std::vector<int64_t> shares) : shares_(std::move(shares)) {
  RETAIN_CHECK(shares_.size() <= std::numeric_limits<uint16_t>::max(), shares_.size(), " sources");
  shorten(shares_);
  const int64_t period = total_of(shares_);
  // Sample j of a source may come from sample `from` of the blend on and must by sample `until`, so that at no time the
  // source is a whole sample ahead or behind.
  struct Wish {
    int64_t at;
    size_t source;
    int64_t ordinal;

    bool operator>(const Wish& other) const { return std::tie(at, source) > std::tie(other.at, other.source); }
  };
  using Soonest = std::priority_queue<Wish, std::vector<Wish>, std::greater<>>;
  Soonest waiting, eligible;  // by `from`, by `until`
  const auto from = [&](size_t k, int64_t j) { return j * period / shares_[k]; };
  const auto until = [&](size_t k, int64_t j) { return ((j + 1) * period - 1) / shares_[k]; };
  for (size_t k = 0; k < shares_.size(); ++k) {
    if (shares_[k] > 0) waiting.push({.at = 0, .source = k, .ordinal = 0});
  }
  sources_.reserve(static_cast<size_t>(period));
  ordinals_.reserve(static_cast<size_t>(period));
  for (int64_t n = 0; n < period; ++n) {
    for (; !waiting.empty() && waiting.top().at <= n; waiting.pop()) {
      const Wish& next = waiting.top();
      eligible.push({.at = until(next.source, next.ordinal), .source = next.source, .ordinal = next.ordinal});
    }
    RETAIN_CHECK(!eligible.empty() && eligible.top().at >= n, "no source for sample ", n, " of ", period);
    const Wish chosen = eligible.top();
    eligible.pop();
    sources_.push_back(static_cast<uint16_t>(chosen.source));
    ordinals_.push_back(static_cast<uint32_t>(chosen.ordinal));
    const int64_t next = chosen.ordinal + 1;
    if (next < shares_[chosen.source]) waiting.push({from(chosen.source, next), chosen.source, next});
  }
}

Slot EvenInterleave::at(int64_t sample) const {
  const auto period = static_cast<int64_t>(sources_.size());
  const auto place = static_cast<size_t>(sample % period);
  const int64_t source = sources_[place];
  return {source, sample / period * shares_[static_cast<size_t>(source)] + ordinals_[place]};
}

NestedInterleave::NestedInterleave(std::vector<int64_t> shares)
    : shares_(std::move(shares)), total_(total_of(shares_)) {}

Slot NestedInterleave::at(int64_t sample) const {
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

BatchOrder::BatchOrder(std::vector<int64_t> windows, const std::vector<double>& weights, uint64_t seed, DataOrder order)
    : windows_(std::move(windows)), shares_(shares_of(weights)), seed_(seed), interleave_(EvenInterleave({1})) {
  RETAIN_CHECK(windows_.size() == weights.size(), windows_.size(), " sources, ", weights.size(), " weights");
  for (const int64_t count : windows_) RETAIN_CHECK(count > 0, "a source has ", count, " windows");
  set_order(order);
}

void BatchOrder::set_order(DataOrder order) {
  order_ = order;
  if (order == DataOrder::kEven) {
    interleave_ = EvenInterleave(shares_);
  } else {
    interleave_ = NestedInterleave(shares_);
  }
}

Sample BatchOrder::at(int64_t sample) const {
  const auto [source, ordinal] = std::visit([&](const auto& interleave) { return interleave.at(sample); }, interleave_);
  const int64_t windows = windows_[static_cast<size_t>(source)], epoch = ordinal / windows;
  const Permutation order(static_cast<uint64_t>(windows), stream_key(seed_, concat("data/", source, "/", epoch)));
  return {source, static_cast<int64_t>(order(static_cast<uint64_t>(ordinal % windows))), epoch};
}

}  // namespace retain
