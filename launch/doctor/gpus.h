// The GPUs: what the driver says of them, and how fast they (or the CPUs) multiply, beside what they should and beside
// each other.
#pragma once

#include <string>
#include <vector>

#include "kernels/backend.h"
#include "kernels/nvml.h"
#include "launch/doctor/finding.h"
#include "launch/doctor/optional_json.h"
#include "trainer/plan/plan.h"

namespace retain {

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(GpuReading, persistence, ecc, mig, uncorrected_errors, remapping_pending,
                                   remapping_failed, throttle_reasons, power_limit_watts, usual_power_limit_watts,
                                   clock_mhz, highest_clock_mhz, temperature_c, slowdown_c, pcie_generation,
                                   highest_pcie_generation, pcie_lanes, most_pcie_lanes, links, active_links)

}  // namespace retain

namespace retain::checkup {

struct GpuFacts {
  std::string name, bus_id;
  int64_t total_bytes = 0, used_by_others_bytes = 0;
  GpuReading reading;                  ///< under load
  std::string no_reading = {};         ///< why there is none
  std::vector<int> unreachable_peers;  ///< GPUs of this machine whose memory this one cannot read
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(GpuFacts, name, bus_id, total_bytes, used_by_others_bytes, reading, no_reading,
                                   unreachable_peers)

struct ProductFacts {
  std::string device;                          ///< Backend::device_description()
  double flops = 0;                            ///< a second, while all ranks multiply
  double peak_flops = 0;                       ///< 0: not known
  std::optional<GpuFacts> gpu = std::nullopt;  ///< looked at meanwhile; none on a CPU
};
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(ProductFacts, device, flops, peak_flops, gpu)

/// Multiplies for about half a second on a GPU, and less on a CPU. `gpu`: the place of the backend's GPU in this
/// process. Throws what the backend throws.
ProductFacts probe_products(Backend& backend, const Target& target, int gpu);

/// Settings and health of each GPU.
Findings judge_gpus(const ByRank<GpuFacts>& ranks, const Hosts& hosts);
/// Rates: each beside its peak, and beside the median of the ranks that have the same device.
Findings judge_products(const ByRank<ProductFacts>& ranks, const Hosts& hosts);

}  // namespace retain::checkup
