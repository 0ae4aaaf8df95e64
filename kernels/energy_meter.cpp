#include "kernels/energy_meter.h"

#include <chrono>
#include <utility>

#include "kernels/core/error.h"

namespace retain {

double EnergyMeter::steady_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

EnergyMeter::EnergyMeter(Nvml nvml, std::string bus_id, std::function<double()> now)
    : nvml_(std::move(nvml)),
      bus_id_(std::move(bus_id)),
      now_(std::move(now)),
      seconds_(now_()),
      joules_(nvml_.joules(bus_id_)),
      watts_(nvml_.watts(bus_id_)) {}

std::optional<EnergyMeter::Interval> EnergyMeter::take() {
  const double now = now_();
  const std::optional<double> joules = nvml_.joules(bus_id_), watts = nvml_.watts(bus_id_);
  Interval interval{.seconds = now - std::exchange(seconds_, now), .clock_mhz = nvml_.clock_mhz(bus_id_)};
  const std::optional<double> joules_then = std::exchange(joules_, joules), watts_then = std::exchange(watts_, watts);
  if (joules && joules_then && *joules >= *joules_then) {
    interval.joules = *joules - *joules_then;
  } else if (watts && watts_then) {
    interval.joules = (*watts + *watts_then) / 2 * interval.seconds;
  } else {
    return std::nullopt;
  }
  return interval;
}

std::optional<EnergyMeter> find_energy_meter(const std::string& bus_id) {
  try {
    EnergyMeter meter(Nvml::open(), bus_id);
    if (meter.take()) return meter;
  } catch (const Error&) {  // no driver's library: nobody tells
  }
  return std::nullopt;
}

}  // namespace retain
