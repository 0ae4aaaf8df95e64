// The energy that a GPU takes: by the driver's counter where it has one, else by its power between looks.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "kernels/nvml.h"

namespace retain {

class EnergyMeter {
 public:
  /// What the whole GPU took, whoever used it, in some time.
  struct Interval {
    double seconds = 0, joules = 0;
    std::optional<double> clock_mhz = {};  ///< at its end
    double watts() const { return seconds > 0 ? joules / seconds : 0; }
  };

  /// bus_id: cuda_bus_id(). `now`: seconds of a clock that never goes back.
  EnergyMeter(Nvml nvml, std::string bus_id, std::function<double()> now = steady_seconds);

  /// Since the last call, or since it was made. Nothing where the driver does not tell.
  std::optional<Interval> take();

 private:
  static double steady_seconds();

  Nvml nvml_;
  std::string bus_id_;
  std::function<double()> now_;
  double seconds_;
  std::optional<double> joules_, watts_;  ///< then
};

/// Of the GPU there; nothing where there is no library, or it does not know the GPU.
std::optional<EnergyMeter> find_energy_meter(const std::string& bus_id);

}  // namespace retain
