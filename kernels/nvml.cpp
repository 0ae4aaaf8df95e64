#include "kernels/nvml.h"

#include <dlfcn.h>

#include <array>

#include "kernels/core/error.h"

namespace retain {

namespace {

using Device = void*;  // nvmlDevice_t
constexpr int kSuccess = 0;
constexpr int kMostLinks = 18;
// nvml.h's enumerators.
constexpr int kTemperatureGpu = 0, kThresholdSlowdown = 1, kClockSm = 1, kUncorrected = 1, kVolatile = 0;

}  // namespace

/// The opened library; it is shut down and closed with it.
struct Nvml::Library {
  void* handle = nullptr;

  explicit Library(const char* name) {
    handle = ::dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (!handle) throw Error(ErrorKind::kDevice, concat("the driver's management library is not there: ", ::dlerror()));
    const int started = call<int (*)()>("nvmlInit_v2");
    if (started == kSuccess) return;
    ::dlclose(handle);
    throw Error(ErrorKind::kDevice, concat("nvmlInit failed with code ", started));
  }
  ~Library() {
    call<int (*)()>("nvmlShutdown");
    ::dlclose(handle);
  }
  Library(const Library&) = delete;
  Library& operator=(const Library&) = delete;

  /// The result of a call, or -1 where this version of the library does not have it.
  template <class Function, class... Arguments>
  int call(const char* name, Arguments... arguments) const {
    const auto function = reinterpret_cast<Function>(::dlsym(handle, name));
    return function ? function(arguments...) : -1;
  }
  int find(const std::string& bus_id, Device& gpu) const {
    return call<int (*)(const char*, Device*)>("nvmlDeviceGetHandleByPciBusId_v2", bus_id.c_str(), &gpu);
  }
  /// A number of a GPU in a larger unit; nothing where either is not known.
  template <class Number, class... Arguments>
  std::optional<double> in_units(const std::string& bus_id, double unit, const char* name,
                                 Arguments... arguments) const {
    Device gpu = nullptr;
    if (find(bus_id, gpu) != kSuccess) return std::nullopt;
    const std::optional<Number> value = number<Number>(name, gpu, arguments...);
    return value ? std::optional<double>(static_cast<double>(*value) / unit) : std::nullopt;
  }
  /// The number that a call writes; nothing where it fails.
  template <class Number = unsigned, class... Arguments>
  std::optional<Number> number(const char* name, Device device, Arguments... arguments) const {
    Number value = 0;
    const int result = call<int (*)(Device, Arguments..., Number*)>(name, device, arguments..., &value);
    return result == kSuccess ? std::optional<Number>(value) : std::nullopt;
  }
};

Nvml Nvml::open(const char* library) { return Nvml(std::make_shared<const Library>(library)); }

std::string Nvml::driver_version() const {
  std::array<char, 96> text{};
  library_->call<int (*)(char*, unsigned)>("nvmlSystemGetDriverVersion", text.data(),
                                           static_cast<unsigned>(text.size()));
  return text.data();
}

GpuReading Nvml::read(const std::string& bus_id) const {
  const Library& nvml = *library_;
  Device gpu = nullptr;
  const int found = nvml.find(bus_id, gpu);
  if (found != kSuccess) throw Error(ErrorKind::kDevice, concat("NVML does not know GPU ", bus_id, ": code ", found));
  const auto flag = [](std::optional<unsigned> value) {
    return value ? std::optional<bool>(*value != 0) : std::nullopt;
  };
  const auto whole = [](std::optional<unsigned> value, unsigned unit = 1) {
    return value ? std::optional<int>(static_cast<int>(*value / unit)) : std::nullopt;
  };
  GpuReading reading;
  reading.persistence = flag(nvml.number("nvmlDeviceGetPersistenceMode", gpu));
  unsigned now = 0, later = 0;
  using Pair = int (*)(Device, unsigned*, unsigned*);
  if (nvml.call<Pair>("nvmlDeviceGetEccMode", gpu, &now, &later) == kSuccess) reading.ecc = now != 0;
  if (nvml.call<Pair>("nvmlDeviceGetMigMode", gpu, &now, &later) == kSuccess) reading.mig = now != 0;
  const auto errors = nvml.number<unsigned long long>("nvmlDeviceGetTotalEccErrors", gpu, kUncorrected, kVolatile);
  if (errors) reading.uncorrected_errors = static_cast<int64_t>(*errors);
  std::array<unsigned, 4> rows{};  // corrected, uncorrected, pending, failed
  using Four = int (*)(Device, unsigned*, unsigned*, unsigned*, unsigned*);
  if (nvml.call<Four>("nvmlDeviceGetRemappedRows", gpu, &rows[0], &rows[1], &rows[2], &rows[3]) == kSuccess) {
    reading.remapping_pending = rows[2] != 0;
    reading.remapping_failed = rows[3] != 0;
  }
  reading.throttle_reasons = nvml.number<unsigned long long>("nvmlDeviceGetCurrentClocksThrottleReasons", gpu);
  reading.power_limit_watts = whole(nvml.number("nvmlDeviceGetPowerManagementLimit", gpu), 1000);
  reading.usual_power_limit_watts = whole(nvml.number("nvmlDeviceGetPowerManagementDefaultLimit", gpu), 1000);
  reading.clock_mhz = whole(nvml.number("nvmlDeviceGetClockInfo", gpu, kClockSm));
  reading.highest_clock_mhz = whole(nvml.number("nvmlDeviceGetMaxClockInfo", gpu, kClockSm));
  reading.temperature_c = whole(nvml.number("nvmlDeviceGetTemperature", gpu, kTemperatureGpu));
  reading.slowdown_c = whole(nvml.number("nvmlDeviceGetTemperatureThreshold", gpu, kThresholdSlowdown));
  reading.pcie_generation = whole(nvml.number("nvmlDeviceGetCurrPcieLinkGeneration", gpu));
  reading.highest_pcie_generation = whole(nvml.number("nvmlDeviceGetMaxPcieLinkGeneration", gpu));
  reading.pcie_lanes = whole(nvml.number("nvmlDeviceGetCurrPcieLinkWidth", gpu));
  reading.most_pcie_lanes = whole(nvml.number("nvmlDeviceGetMaxPcieLinkWidth", gpu));
  for (unsigned link = 0; link < kMostLinks; ++link) {
    const auto active = nvml.number("nvmlDeviceGetNvLinkState", gpu, link);
    if (!active) continue;
    reading.links = reading.links.value_or(0) + 1;
    reading.active_links = reading.active_links.value_or(0) + (*active != 0 ? 1 : 0);
  }
  return reading;
}

std::optional<double> Nvml::joules(const std::string& bus_id) const {
  return library_->in_units<unsigned long long>(bus_id, 1000, "nvmlDeviceGetTotalEnergyConsumption");
}

std::optional<double> Nvml::watts(const std::string& bus_id) const {
  return library_->in_units<unsigned>(bus_id, 1000, "nvmlDeviceGetPowerUsage");
}

std::optional<double> Nvml::clock_mhz(const std::string& bus_id) const {
  return library_->in_units<unsigned>(bus_id, 1, "nvmlDeviceGetClockInfo", kClockSm);
}

}  // namespace retain
