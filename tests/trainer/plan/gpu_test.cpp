#include "trainer/plan/gpu.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace retain::test {
namespace {

TEST(PeakFlops, IsThatOfTheGpu) {
  const Target bf16{.device = DeviceKind::kCuda, .compute = DType::kBfloat16};
  const Target fp32{.device = DeviceKind::kCuda, .compute = DType::kFloat32};
  EXPECT_EQ(peak_flops(bf16, "NVIDIA H200, 132 SMs, 139.8 GiB"), 989e12);
  EXPECT_EQ(peak_flops(fp32, "NVIDIA H200, 132 SMs, 139.8 GiB"), 67e12);
  EXPECT_EQ(peak_flops(bf16, "NVIDIA H100 80GB HBM3"), 989e12);
  EXPECT_EQ(peak_flops(bf16, "NVIDIA H100 PCIe"), 756e12);
  EXPECT_EQ(peak_flops(bf16, "NVIDIA A100-SXM4-80GB"), 312e12);
  EXPECT_EQ(peak_flops(bf16, "NVIDIA A10"), 125e12);
  EXPECT_EQ(peak_flops(bf16, "NVIDIA L40S"), 362e12);
  EXPECT_EQ(peak_flops(bf16, "NVIDIA GB200"), 2500e12);
  EXPECT_EQ(peak_flops(bf16, "NVIDIA X9000"), 0) << "no share of a peak that nobody knows";
  EXPECT_EQ(peak_flops({.device = DeviceKind::kCpu}, "CPU, 2 threads"), 0);
}

TEST(PredictedGpu, IsFoundByTheNameThatPeopleType) {
  EXPECT_EQ(predicted_gpu("h200").name, "H200");
  EXPECT_EQ(predicted_gpu("H100-PCIe").name, "H100 PCIe");
  for (const char* name : {"h100", "h200", "a100", "b200"}) {
    const Gpu gpu = predicted_gpu(name);
    EXPECT_TRUE(gpu.is_predicted() && gpu.link_bytes_per_second > 0 && gpu.memory_bytes_per_second > 0 && gpu.watts > 0)
        << name;
  }
  try {
    predicted_gpu("l4");
    FAIL() << "its data sheet's memory and links are not in the table";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kUsage);
    EXPECT_THAT(error.what(), ::testing::HasSubstr("no GPU 'l4' is known (legal: b200, h200-nvl, h200,"));
  }
}

}  // namespace
}  // namespace retain::test
