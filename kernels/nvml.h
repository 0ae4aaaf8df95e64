// The NVIDIA management library, opened when it is asked for, so that a program that was built without CUDA needs
// nothing. The layout of its calls is that of nvml.h, which only CUDA toolkits have.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

namespace retain {

/// What the driver says of one GPU; nothing where it does not tell.
struct GpuReading {
  std::optional<bool> persistence, ecc, mig;
  std::optional<int64_t> uncorrected_errors;  ///< of memory, since the driver was loaded
  std::optional<bool> remapping_pending, remapping_failed;
  std::optional<uint64_t> throttle_reasons;  ///< a bit each, NVML's
  std::optional<int> power_limit_watts, usual_power_limit_watts;
  std::optional<int> clock_mhz, highest_clock_mhz;  ///< of the multiprocessors
  std::optional<int> temperature_c, slowdown_c;
  std::optional<int> pcie_generation, highest_pcie_generation, pcie_lanes, most_pcie_lanes;
  std::optional<int> links, active_links;  ///< NVLink's
};

class Nvml {
 public:
  /// Throws Error(kDevice) saying why when the library is not there or does not start.
  static Nvml open(const char* library = "libnvidia-ml.so.1");

  std::string driver_version() const;  ///< "580.95.05"
  /// bus_id: cuda_bus_id(). Throws Error(kDevice).
  GpuReading read(const std::string& bus_id) const;

  /// Nothing of a GPU that NVML does not know, or does not tell this of.
  std::optional<double> joules(const std::string& bus_id) const;  ///< that it took since the driver was loaded
  std::optional<double> watts(const std::string& bus_id) const;   ///< at the moment
  std::optional<double> clock_mhz(const std::string& bus_id) const;

 private:
  struct Library;
  explicit Nvml(std::shared_ptr<const Library> library) : library_(std::move(library)) {}
  std::shared_ptr<const Library> library_;
};

}  // namespace retain
