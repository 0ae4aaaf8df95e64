#include "trainer/run/step_costs.h"

#include <algorithm>
#include <cmath>

namespace retain {

namespace {

std::optional<double> known(double value) { return std::isfinite(value) ? std::optional(value) : std::nullopt; }

}  // namespace

StepCosts combine(std::span<const RankCosts> ranks, double seconds, double tokens) {
  double data = 0, exchange = 0, watts = 0, joules = 0, clock_mhz = INFINITY;
  for (const RankCosts& rank : ranks) {
    data = std::max(data, rank.data_seconds);
    exchange += rank.waiting_ms / rank.all_ms / static_cast<double>(ranks.size());
    watts += rank.watts;
    joules += rank.joules;
    clock_mhz = std::isnan(rank.clock_mhz) ? rank.clock_mhz : std::min(clock_mhz, rank.clock_mhz);
  }
  return {.data_share = known(data / seconds),
          .exchange_share = known(exchange),
          .watts = known(watts),
          .joules = known(joules),
          .clock_mhz = known(clock_mhz),
          .millijoules_per_token = known(1000 * watts * seconds / tokens)};
}

}  // namespace retain
