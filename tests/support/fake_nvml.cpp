// A management library of one GPU that says what a test tells it: RETAIN_FAKE_GPU is "millijoules milliwatts MHz", each
// -1 where the driver is not to tell it.
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

enum What { kMillijoules, kMilliwatts, kMegahertz };
constexpr int kSuccess = 0, kNotSupported = 3, kNotFound = 6;
constexpr const char* kBusId = "0000:1B:00.0";
int gpu = 0;

template <class Number>
int tell(What what, Number* out) {
  long long values[3] = {-1, -1, -1};
  if (const char* const told = std::getenv("RETAIN_FAKE_GPU"))
    std::sscanf(told, "%lld %lld %lld", &values[0], &values[1], &values[2]);
  if (values[what] < 0) return kNotSupported;
  *out = static_cast<Number>(values[what]);
  return kSuccess;
}

}  // namespace

extern "C" {
int nvmlInit_v2() { return kSuccess; }
int nvmlShutdown() { return kSuccess; }
int nvmlDeviceGetHandleByPciBusId_v2(const char* bus_id, void** device) {
  *device = &gpu;
  return std::strcmp(bus_id, kBusId) == 0 ? kSuccess : kNotFound;
}
int nvmlDeviceGetTotalEnergyConsumption(void*, unsigned long long* millijoules) {
  return tell(kMillijoules, millijoules);
}
int nvmlDeviceGetPowerUsage(void*, unsigned* milliwatts) { return tell(kMilliwatts, milliwatts); }
int nvmlDeviceGetClockInfo(void*, int, unsigned* mhz) { return tell(kMegahertz, mhz); }
}
