// Which window of which source is sample number i of a run. Pure functions of (seed, i): no state, no memory that grows
// with the data, the same on every mesh, and resuming at a step needs nothing but the step.
#pragma once

#include <cstdint>
#include <variant>
#include <vector>

namespace retain {

/// A bijection of [0, size) chosen by `key`: an alternating Feistel network over Philox on the smallest power of two
/// that holds the range, walked until it comes back into the range (Black & Rogaway 2002).
class Permutation {
 public:
  Permutation(uint64_t size, uint64_t key);
  /// The image of index, which is below size.
  uint64_t operator()(uint64_t index) const;

 private:
  uint64_t scramble(uint64_t index) const;
  uint64_t size_, key_;
  int low_bits_ = 0;
  uint64_t low_mask_ = 0, high_mask_ = 0;
};

/// Whole numbers in the proportion of the weights, without a common divisor; to 2^-30 of weights that are not decimal.
/// Weights are finite, none negative, not all zero.
std::vector<int64_t> shares_of(const std::vector<double>& weights);

/// A sample's place in a blend.
struct Slot {
  int64_t source;
  int64_t ordinal;  ///< how many samples of this source came before

  bool operator==(const Slot&) const = default;
};

/// Interleaves sources in proportion to their shares: among the first n samples of the run, source k has n · share_k /
/// Σ shares of them to less than one sample, for every n and k. Each next sample is of the source that must have one
/// soonest, of those that may have one by now (Tijdeman 1980, "The chairman assignment problem"; Steiner & Yeomans
/// 1993). The order is periodic and kept for one period, 6 MiB at most: shares that add up to more than 2^20 are
/// rounded to that.
class EvenInterleave {
 public:
  explicit EvenInterleave(std::vector<int64_t> shares);
  Slot at(int64_t sample) const;

 private:
  std::vector<int64_t> shares_;
  std::vector<uint16_t> sources_;   ///< of the samples of a period
  std::vector<uint32_t> ordinals_;  ///< within the period
};

/// The same up to a rounding of less than the number of sources, as releases before DataOrder::kEven did it: source 0
/// takes its share of all samples, source 1 its share of what is left, and so on.
class NestedInterleave {
 public:
  explicit NestedInterleave(std::vector<int64_t> shares);
  Slot at(int64_t sample) const;

 private:
  std::vector<int64_t> shares_;
  int64_t total_ = 0;
};

/// How sources are blended. A run keeps the order that it began with.
enum class DataOrder : uint8_t {
  kNested = 1,  ///< of checkpoints that do not say
  kEven = 2
};

/// Windows of seq_len + 1 tokens that step by seq_len: the last target of one is the first token of the next.
int64_t whole_windows(int64_t tokens, int64_t seq_len);

struct Sample {
  int64_t source;
  int64_t window;  ///< of the source, 0-based in the order on disk
  int64_t epoch;   ///< of the source: how often it has been read through before
};

/// Each source is read once per epoch of its own, in an order drawn anew for (seed, source, epoch).
class BatchOrder {
 public:
  /// windows[k] >= 1 is the number of windows of source k.
  BatchOrder(std::vector<int64_t> windows, const std::vector<double>& weights, uint64_t seed,
             DataOrder order = DataOrder::kEven);
  Sample at(int64_t sample) const;
  /// Of the weights (shares_of).
  const std::vector<int64_t>& shares() const { return shares_; }
  DataOrder order() const { return order_; }
  void set_order(DataOrder order);

 private:
  std::vector<int64_t> windows_, shares_;
  uint64_t seed_;
  DataOrder order_ = DataOrder::kEven;
  std::variant<EvenInterleave, NestedInterleave> interleave_;
};

}  // namespace retain
