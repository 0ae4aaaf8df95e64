// Which rank is slower than the others, and for how long, from the time that each takes for its own work on a step.
// Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace retain {

/// The slowest rank of a step, and its time over the median of all.
struct SlowestRank {
  int rank = 0;
  double ratio = 1;
};

class SlowRanks {
 public:
  static constexpr double kSlow = 1.05;           ///< times the median
  static constexpr int64_t kPatience = 100;       ///< steps
  static constexpr double kPatienceSeconds = 10;  ///< a hundred short steps are a moment in which something else ran

  /// The times of all ranks, in a unit of their choice, in a step that was measured and ended at `seconds` of a clock;
  /// the lower median of an even number.
  SlowestRank observe(int64_t step, double seconds, std::span<const double> times);
  /// Ranks that have been slow in every step that was measured for kPatience steps and kPatienceSeconds, as of the last
  /// one; each once until it is slow no more.
  const std::vector<int>& slow_for_long() const { return slow_for_long_; }

 private:
  struct Episode {
    int64_t since = 0;  ///< the first step in which it was slow
    double since_seconds = 0;
    bool told = false;
  };
  std::vector<std::optional<Episode>> episodes_;
  std::vector<int> slow_for_long_;
};

}  // namespace retain
