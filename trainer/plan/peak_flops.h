// What a device can do at most, by its name: what MFU and measured products are compared with.
#pragma once

#include <string>

#include "trainer/plan/plan.h"

namespace retain {

/// FLOP/s of dense products with operands of the target's compute type, as NVIDIA's data sheets say: in bfloat16 of the
/// tensor cores with float32 sums, in float32 without them. `device` holds the GPU's name ("NVIDIA H200, 132 SMs, …",
/// Backend::device_description()). 0 for CPUs and for GPUs that are not in the table: there is no MFU then.
double peak_flops(const Target& target, const std::string& device);

}  // namespace retain
