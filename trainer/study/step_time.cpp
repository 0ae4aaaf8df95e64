#include "trainer/study/step_time.h"

#include <algorithm>
#include <cmath>

#include "trainer/plan/step_time.h"

namespace retain::study {
namespace {

// A core that runs float32 products of narrow models.
constexpr double kCpuFlopsPerSecond = 15e9, kCpuStepSeconds = 1e-3;

/// Tokens a second: log-linear in log N between measurements, and in inverse proportion to N beyond them.
double rate_at(double parameters, std::vector<MeasuredRate> rates) {
  std::ranges::sort(rates, {}, &MeasuredRate::parameters);
  const auto beyond = [&](const MeasuredRate& end) { return end.tokens_per_second * end.parameters / parameters; };
  // A smaller model than was measured is at least as fast; how much faster is not known.
  if (parameters <= rates.front().parameters) return rates.front().tokens_per_second;
  if (parameters >= rates.back().parameters) return beyond(rates.back());
  const auto above = std::ranges::lower_bound(rates, parameters, {}, &MeasuredRate::parameters);
  const MeasuredRate &low = *std::prev(above), &high = *above;
  const double share = std::log(parameters / low.parameters) / std::log(high.parameters / low.parameters);
  return low.tokens_per_second * std::pow(high.tokens_per_second / low.tokens_per_second, share);
}

/// As predicted for an H200, which other jobs share: together they cannot be faster than their work without their
/// waits.
double predicted_seconds(const Config& config, const RunPlan& plan, int jobs) {
  const int ranks = plan.mesh.ranks();
  const RankExchanges exchanges =
      busiest_exchanges(plan.traffic, plan.mesh, plan.dealing, machines_of(ranks, ranks), true);
  const StepTime time = predict_step(config, plan, exchanges, predicted_gpu("h200"));
  double work = 0;
  for (const StepPart& part : time.parts)
    if (part.name != kStartsOfKernels) work += part.seconds;
  return std::max(time.seconds(), jobs * work);
}

}  // namespace

double step_seconds(const Config& config, const RunPlan& plan, const Machine& machine) {
  const auto batch = static_cast<double>(config.train.batch_tokens);
  if (!machine.rates.empty()) return batch / rate_at(static_cast<double>(plan.parameters.all), machine.rates);
  const bool cuda = plan.target.device == DeviceKind::kCuda;
  if (cuda && machine.flops_per_second == 0) {
    const double predicted = predicted_seconds(config, plan, machine.jobs_per_gpu);
    return std::max(predicted, machine.step_seconds);
  }
  const double speed = machine.flops_per_second > 0 ? machine.flops_per_second : kCpuFlopsPerSecond;
  const double besides = machine.step_seconds >= 0 ? machine.step_seconds : cuda ? 0 : kCpuStepSeconds;
  return besides + plan.flops_per_token * batch / (speed * plan.mesh.ranks());
}

}  // namespace retain::study
