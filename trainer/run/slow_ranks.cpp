#include "trainer/run/slow_ranks.h"

#include <algorithm>

#include "kernels/core/error.h"

namespace retain {

SlowestRank SlowRanks::observe(int64_t step, double seconds, std::span<const double> times) {
  RETAIN_CHECK(!times.empty(), "no rank");
  std::vector<double> sorted(times.begin(), times.end());
  std::ranges::sort(sorted);
  const double median = sorted[(sorted.size() - 1) / 2];
  episodes_.resize(times.size());
  slow_for_long_.clear();
  for (size_t rank = 0; rank < times.size(); ++rank) {
    std::optional<Episode>& episode = episodes_[rank];
    if (!(times[rank] > kSlow * median)) {
      episode.reset();
      continue;
    }
    if (!episode) episode = {.since = step, .since_seconds = seconds};
    if (episode->told || step - episode->since < kPatience || seconds - episode->since_seconds < kPatienceSeconds)
      continue;
    episode->told = true;
    slow_for_long_.push_back(static_cast<int>(rank));
  }
  const auto slowest = std::ranges::max_element(times);
  return {.rank = static_cast<int>(slowest - times.begin()), .ratio = median > 0 ? *slowest / median : 1};
}

}  // namespace retain
