#include "kernels/energy_meter.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "kernels/backend.h"
#include "kernels/core/error.h"
#include "kernels/gpu_facts.h"

namespace retain::test {
namespace {

constexpr const char* kGpu = "0000:1B:00.0";

/// A GPU of which the test says what it takes, and when.
class Meter : public ::testing::Test {
 protected:
  void SetUp() override { tell("1000 300000 1700"); }
  void TearDown() override { ::unsetenv("RETAIN_FAKE_GPU"); }
  /// "millijoules milliwatts MHz"
  static void tell(const char* values) { ::setenv("RETAIN_FAKE_GPU", values, 1); }
  EnergyMeter meter(const char* bus_id = kGpu) {
    return {Nvml::open(RETAIN_FAKE_NVML), bus_id, [this] { return seconds_; }};
  }
  double seconds_ = 100;
};

TEST_F(Meter, CountsWhatTheDriverCounted) {
  EnergyMeter meter = this->meter();
  seconds_ += 2;
  tell("801000 700000 1755");
  auto taken = meter.take();
  ASSERT_TRUE(taken);
  EXPECT_EQ(taken->seconds, 2);
  EXPECT_EQ(taken->joules, 800);
  EXPECT_EQ(taken->watts(), 400);
  EXPECT_EQ(taken->clock_mhz, 1755);
  seconds_ += 1;
  tell("901000 700000 -1");
  taken = meter.take();
  ASSERT_TRUE(taken);
  EXPECT_EQ(taken->joules, 100) << "since the last look";
  EXPECT_FALSE(taken->clock_mhz);
}

TEST_F(Meter, AddsUpPowerWhereTheDriverDoesNotCount) {
  tell("-1 300000 1700");
  EnergyMeter meter = this->meter();
  seconds_ += 2;
  tell("-1 500000 1700");
  const auto taken = meter.take();
  ASSERT_TRUE(taken);
  EXPECT_EQ(taken->joules, 800);
  tell("-1 -1 1700");
  EXPECT_FALSE(meter.take());
}

TEST_F(Meter, ACounterThatBeganAnewTakesNothingBack) {
  EnergyMeter meter = this->meter();
  seconds_ += 1;
  tell("10 500000 1700");  // the driver was loaded again
  const auto taken = meter.take();
  ASSERT_TRUE(taken);
  EXPECT_EQ(taken->joules, 400);
}

TEST_F(Meter, AGpuThatNobodyKnowsTellsNothing) {
  EXPECT_FALSE(meter("0000:99:00.0").take());
  EXPECT_THROW(Nvml::open("libno-such-thing.so.1"), Error);
}

TEST(RealMeter, MeasuresTheGpuHere) {
  if (cuda_device_count() == 0) GTEST_SKIP() << "no CUDA device";
  auto meter = find_energy_meter(cuda_bus_id(0));
  ASSERT_TRUE(meter) << "the driver tells nothing of the GPU's power";
  const auto taken = meter->take();
  ASSERT_TRUE(taken);
  EXPECT_GT(taken->clock_mhz.value_or(0), 100);
}

}  // namespace
}  // namespace retain::test
