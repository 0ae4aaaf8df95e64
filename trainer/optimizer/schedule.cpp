#include "trainer/optimizer/schedule.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

namespace retain {

int64_t wsd_decay_steps(const ScheduleConfig& schedule, int64_t steps) {
  // As decimal numbers: 0.55 of 100 is 55, though the product of the doubles is a little more.
  const double share = schedule.decay_fraction * static_cast<double>(steps), nearest = std::round(share);
  const bool whole = std::abs(share - nearest) <= 4 * std::numeric_limits<double>::epsilon() * share;
  return static_cast<int64_t>(whole ? nearest : std::ceil(share));
}

double learning_rate(const ScheduleConfig& schedule, double lr, int64_t steps, double index) {
  const auto warmup = static_cast<double>(schedule.warmup_steps);
  if (index < warmup) return lr * std::min(index + 1, warmup) / warmup;
  const auto between = [&](double high) { return lr * (schedule.final + (1 - schedule.final) * high); };
  const auto progress_since = [&](int64_t begin) {
    return std::clamp((index - static_cast<double>(begin)) / static_cast<double>(std::max<int64_t>(1, steps - begin)),
                      0.0, 1.0);
  };
  switch (schedule.kind) {
    case ScheduleKind::kConstant: return lr;
    case ScheduleKind::kLinear: return between(1 - progress_since(schedule.warmup_steps));
    case ScheduleKind::kCosine:
      return between(0.5 * (1 + std::cos(std::numbers::pi * progress_since(schedule.warmup_steps))));
    case ScheduleKind::kWsd: {
      const int64_t begin = steps - wsd_decay_steps(schedule, steps);
      return index < static_cast<double>(begin) ? lr
                                                : between(1 - progress_since(std::max(begin, schedule.warmup_steps)));
    }
  }
  return lr;
}

double learning_rate(const Config& config, int64_t tokens) {
  // In two parts, so that whole steps stay whole beyond 2^53 tokens.
  const int64_t batch = config.train.batch_tokens, steps = tokens / batch, rest = tokens % batch;
  const double index = static_cast<double>(steps) + static_cast<double>(rest) / static_cast<double>(batch);
  return learning_rate(config.schedule, config.optimizer.lr, config.steps(), index);
}

}  // namespace retain
