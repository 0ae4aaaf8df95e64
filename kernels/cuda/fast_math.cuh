// Single instructions of the special function unit, with results a few units in the last place of float32 away: for
// values that are rounded to bfloat16 or whose error only scales a gate. Subnormal arguments and results become zero,
// which saves the range handling that __expf and the division carry.
#pragma once

namespace retain::cuda {

inline constexpr float kLog2E = 1.44269504088896340736F;

/// 2^x; 0 below -126, infinity from 128 on.
__device__ __forceinline__ float exp2_approximate(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

/// 1/x; 0 for infinity.
__device__ __forceinline__ float reciprocal_approximate(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

}  // namespace retain::cuda
