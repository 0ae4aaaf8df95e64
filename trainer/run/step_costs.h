// What steps cost beside their work: the waits for data and for other ranks, and energy. Of all ranks together. Pure.
#pragma once

#include <optional>
#include <span>

namespace retain {

/// What one rank measured of a step, and since the step before that was measured. NaN: unknown.
struct RankCosts {
  double at_seconds = 0;    ///< when the step ended, by a clock of its own
  double own_ms = 0;        ///< of the step: its own work on a micro-batch
  double waiting_ms = 0;    ///< of the step: that its queue stood in collectives …
  double all_ms = 0;        ///< … of so many
  double data_seconds = 0;  ///< since then: that its host waited for batches
  double watts = 0;         ///< since then: the mean
  double joules = 0;        ///< of this start
  double clock_mhz = 0;     ///< now
};

struct StepCosts {
  /// Of the time that steps took, what the host of the rank that waited longest waited for its batches. A device works
  /// meanwhile: it stood still for less than that.
  std::optional<double> data_share;
  /// What queues stood in collectives, for the exchange and for slower ranks: the mean of all ranks. An exchange that
  /// work hides costs nothing.
  std::optional<double> exchange_share;
  std::optional<double> watts, joules;  ///< of all GPUs, idle ranks included
  std::optional<double> clock_mhz;      ///< the slowest
  std::optional<double> millijoules_per_token;
};

/// Of steps that took so many seconds, without what lay between them, for so many tokens.
StepCosts combine(std::span<const RankCosts> ranks, double seconds, double tokens);

}  // namespace retain
