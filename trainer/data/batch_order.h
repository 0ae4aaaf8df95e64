// Which window of which source is sample number i of a run. Pure functions of (seed, i): no state, no memory that grows
// with the data, the same on every mesh, and resuming at a step needs nothing but the step.
#pragma once

#include <cstdint>
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

/// Interleaves sources in proportion to their weights: among the first n samples of the run, source k has n · weight_k
/// / Σ weights of them up to a rounding of less than the number of sources.
class WeightedInterleave {
 public:
  /// Weights are finite, none negative, not all zero.
  explicit WeightedInterleave(const std::vector<double>& weights);

  struct Slot {
    int64_t source;
    int64_t ordinal;  ///< how many samples of this source came before
  };
  Slot at(int64_t sample) const;
  /// Whole numbers in the proportion of the weights, without a common divisor; to 2^-30 of weights that are not
  /// decimal.
  const std::vector<int64_t>& shares() const { return shares_; }

 private:
  std::vector<int64_t> shares_;
  int64_t total_ = 0;
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
  BatchOrder(std::vector<int64_t> windows, const std::vector<double>& weights, uint64_t seed);
  Sample at(int64_t sample) const;
  const std::vector<int64_t>& shares() const { return interleave_.shares(); }

 private:
  std::vector<int64_t> windows_;
  WeightedInterleave interleave_;
  uint64_t seed_;
};

}  // namespace retain
