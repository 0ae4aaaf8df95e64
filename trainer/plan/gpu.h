// GPUs by name and what their data sheets promise: what MFU is a share of, and what predictions are made from.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "trainer/plan/plan.h"

namespace retain {

struct Gpu {
  std::string name;                       ///< "H200", a part of what the driver calls it
  double bf16_flops = 0, fp32_flops = 0;  ///< FLOP/s of dense products: of tensor cores with float32 sums; without them
  /// What predictions need besides; all 0 where it is not in the table.
  int64_t memory_bytes = 0;  ///< that a process can have
  double memory_bytes_per_second = 0;
  double link_bytes_per_second = 0;  ///< to the other GPUs of its machine, one direction
  double watts = 0;                  ///< its power limit

  double flops(DType compute) const { return compute == DType::kBfloat16 ? bf16_flops : fp32_flops; }
  bool is_predicted() const { return memory_bytes > 0; }
};

/// Of its memory's rate, what a copy reaches: 4.25 of an H200's 4.8 TB/s.
inline constexpr double kMemoryShare = 0.885;

/// The GPU whose name stands in `device` as whole words ("NVIDIA H200, 132 SMs, …", Backend::device_description());
/// nullptr where it is not in the table.
const Gpu* find_gpu(const std::string& device);

/// The GPU that a user calls "h200". Throws Error(kUsage) with the names of all for which predictions are made.
const Gpu& predicted_gpu(const std::string& name);

/// What MFU is a share of, on the target's device. 0 for CPUs and for GPUs that are not in the table: no MFU then.
double peak_flops(const Target& target, const std::string& device);

}  // namespace retain
