#include "trainer/study/step_time.h"

#include <algorithm>
#include <cmath>

namespace retain::study {
namespace {

// An H200 reached 462 TFLOP/s at 125 M parameters (hidden 768), and a step of a small model takes what its launches do.
constexpr double kGpuFlopsPerSecond = 450e12, kGpuWidth = 768, kGpuSecondsPerLayer = 3e-3;
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

}  // namespace

double step_seconds(const Config& config, const RunPlan& plan, const Machine& machine) {
  const auto batch = static_cast<double>(config.train.batch_tokens);
  if (!machine.rates.empty()) return batch / rate_at(static_cast<double>(plan.parameters.all), machine.rates);
  const bool cuda = plan.target.device == DeviceKind::kCuda;
  const double width = static_cast<double>(config.model.hidden_size);
  const double guess = cuda ? kGpuFlopsPerSecond * std::min(1.0, width / kGpuWidth) : kCpuFlopsPerSecond;
  const double overhead = cuda ? kGpuSecondsPerLayer * static_cast<double>(config.model.layers) : kCpuStepSeconds;
  const double speed = machine.flops_per_second > 0 ? machine.flops_per_second : guess;
  return (machine.step_seconds >= 0 ? machine.step_seconds : overhead) +
         plan.flops_per_token * batch / (speed * plan.mesh.ranks());
}

}  // namespace retain::study
