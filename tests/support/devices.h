// Devices that whole training runs are tested on: what is not here is skipped.
#pragma once

#include <memory>
#include <ostream>

#include "trainer/plan/plan.h"

namespace retain::test {

struct Device {
  const char* name;
  bool cuda;
  DType compute;

  bool are_here(int count) const { return !cuda || cuda_device_count() >= count; }
  DeviceKind kind() const { return cuda ? DeviceKind::kCuda : DeviceKind::kCpu; }
  /// Puts the run on this device; GPUs take no chunk but their own.
  void place(Config& config) const {
    config.device = kind();
    if (cuda) config.train.chunk = 0;
  }
  Target target() const { return {.device = kind(), .compute = compute, .threads = 1}; }
  /// `index` numbers GPUs.
  std::unique_ptr<Backend> make(int index = 0) const { return cuda ? make_cuda_backend(index) : make_cpu_backend(1); }
};

inline void PrintTo(const Device& device, std::ostream* out) { *out << device.name; }

inline constexpr Device kCpu{"cpu", false, DType::kFloat32};
inline constexpr Device kCudaFloat32{"cuda_float32", true, DType::kFloat32};
inline constexpr Device kCudaBfloat16{"cuda_bfloat16", true, DType::kBfloat16};

}  // namespace retain::test
