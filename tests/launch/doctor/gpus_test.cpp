#include "launch/doctor/gpus.h"

#include <gtest/gtest.h>

#include "tests/launch/doctor/support.h"

namespace retain::test {
namespace {

using namespace checkup;

GpuFacts healthy() {
  GpuFacts gpu;
  gpu.name = "NVIDIA H200";
  gpu.bus_id = "0000:1B:00.0";
  gpu.total_bytes = 150'000'000'000;
  gpu.reading = {.persistence = true,
                 .ecc = true,
                 .mig = false,
                 .uncorrected_errors = 0,
                 .remapping_pending = false,
                 .remapping_failed = false,
                 .throttle_reasons = 0x4,
                 .power_limit_watts = 700,
                 .usual_power_limit_watts = 700,
                 .clock_mhz = 1500,
                 .highest_clock_mhz = 1980,
                 .temperature_c = 60,
                 .slowdown_c = 92,
                 .pcie_generation = 5,
                 .highest_pcie_generation = 5,
                 .pcie_lanes = 16,
                 .most_pcie_lanes = 16,
                 .links = 18,
                 .active_links = 18};
  return gpu;
}

/// The lines of a check, of four GPUs of which the last is changed.
std::string with_sick(const char* check, const std::function<void(GpuFacts&)>& sicken) {
  ByRank<GpuFacts> ranks = on_ranks(4, healthy());
  sicken(ranks[3]);
  return line_of(judge_gpus(ranks, pairs_of_ranks(4)), check);
}

TEST(DoctorGpus, HealthyOnesPassEveryCheck) {
  for (const Finding& finding : judge_gpus(on_ranks(4, healthy()), pairs_of_ranks(4)))
    EXPECT_EQ(finding.verdict, Verdict::kPass) << finding.check << ": " << finding.value;
  EXPECT_EQ(line_of(judge_gpus({}, pairs_of_ranks(4)), "device"), "PASS none: the ranks compute on CPUs");
  GpuFacts unknown;  // a driver that tells nothing
  unknown.total_bytes = 1;
  for (const Finding& finding : judge_gpus(on_ranks(4, unknown), pairs_of_ranks(4)))
    EXPECT_EQ(finding.verdict, Verdict::kPass) << finding.check << ": " << finding.value;
}

TEST(DoctorGpus, EachThingThatCanBeAmissIsNamedWithItsRank) {
  const std::string rank = ": rank 3 on gpu1";
  EXPECT_EQ(with_sick("device", [](GpuFacts& g) { g.name = "NVIDIA H100"; }),
            "WARN NVIDIA H100 among others: the slowest sets the pace" + rank);
  EXPECT_EQ(with_sick("memory", [](GpuFacts& g) { g.used_by_others_bytes = 20'000'000'000; }),
            "WARN another process has memory there (20 GB)" + rank);
  EXPECT_EQ(with_sick("NVML", [](GpuFacts& g) { g.no_reading = "no library"; }),
            "WARN health cannot be read: no library" + rank);
  EXPECT_EQ(with_sick("errors", [](GpuFacts& g) { g.reading.uncorrected_errors = 2; }),
            "FAIL memory errors that could not be corrected (2 errors since the driver was loaded)" + rank);
  EXPECT_EQ(with_sick("errors", [](GpuFacts& g) { g.reading.remapping_pending = true; }),
            "FAIL damaged memory rows wait for a reset" + rank);
  EXPECT_EQ(with_sick("errors", [](GpuFacts& g) { g.reading.remapping_failed = true; }),
            "FAIL no spare memory rows are left" + rank);
  EXPECT_EQ(with_sick("errors", [](GpuFacts& g) { g.reading.ecc = false; }),
            "WARN ECC is off: flipped bits go unseen" + rank);
  for (const uint64_t heat : {0x20, 0x40, 0x48})
    EXPECT_EQ(with_sick("throttling", [&](GpuFacts& g) { g.reading.throttle_reasons = heat; }),
              "WARN slowed down by heat (1500 MHz)" + rank);
  EXPECT_EQ(with_sick("throttling", [](GpuFacts& g) { g.reading.throttle_reasons = 0x88; }),
            "FAIL slowed down by the machine's power supply (1500 MHz)" + rank);
  EXPECT_EQ(with_sick("throttling", [](GpuFacts& g) { g.reading.throttle_reasons = 0x8; }),
            "FAIL slowed down by its hardware (1500 MHz)" + rank);
  EXPECT_EQ(with_sick("settings", [](GpuFacts& g) { g.reading.power_limit_watts = 400; }),
            "WARN its power limit is below the usual one (400 W)" + rank);
  EXPECT_EQ(with_sick("settings", [](GpuFacts& g) { g.reading.persistence = false; }),
            "WARN persistence mode is off: starts take longer, settings get lost" + rank);
  EXPECT_EQ(with_sick("settings", [](GpuFacts& g) { g.reading.mig = true; }),
            "WARN it is cut into instances (MIG)" + rank);
  EXPECT_EQ(with_sick("temperature", [](GpuFacts& g) { g.reading.temperature_c = 90; }),
            "WARN close to where it slows down (90 C)" + rank);
  EXPECT_EQ(with_sick("links", [](GpuFacts& g) { g.reading.active_links = 16; }),
            "FAIL fewer NVLinks are up than the 18 of the others (16 up)" + rank);
  EXPECT_EQ(with_sick("links", [](GpuFacts& g) { g.reading.pcie_lanes = 8; }),
            "WARN its PCIe link is narrower than it could be (8 lanes)" + rank);
  EXPECT_EQ(with_sick("links", [](GpuFacts& g) { g.reading.pcie_generation = 3; }),
            "WARN its PCIe link is slower than it could be (3 as its generation)" + rank);
  EXPECT_EQ(with_sick("links", [](GpuFacts& g) { g.unreachable_peers = {0}; }),
            "WARN it cannot read the memory of other GPUs of its machine (1 of them)" + rank);
}

TEST(DoctorGpus, ASlowDeviceIsNamedBesideItsPeakAndBesideTheOthers) {
  const Hosts hosts = pairs_of_ranks(4);
  ProductFacts fast{.device = "NVIDIA H200", .flops = 700e12, .peak_flops = 989e12, .gpu = healthy()};
  ByRank<ProductFacts> ranks = on_ranks(4, fast);
  EXPECT_EQ(line_of(judge_products(ranks, hosts), "products"), "PASS 700 TFLOP/s a rank");
  ranks[2].flops = 640e12;
  EXPECT_EQ(line_of(judge_products(ranks, hosts), "products"),
            "WARN slower than the median of 700 TFLOP/s, and all wait for the slowest (640 TFLOP/s): rank 2 on gpu1");
  ranks[2].flops = 500e12;
  EXPECT_EQ(line_of(judge_products(ranks, hosts), "products"),
            "WARN below 60 % of the peak of 989 TFLOP/s (500 TFLOP/s): rank 2 on gpu1");
  ranks[2].flops = 100e12;
  EXPECT_EQ(line_of(judge_products(ranks, hosts), "products"),
            "FAIL below 60 % of the peak of 989 TFLOP/s (100 TFLOP/s): rank 2 on gpu1");

  ByRank<ProductFacts> cpus = on_ranks(4, ProductFacts{.device = "CPU", .flops = 1e11, .peak_flops = 0});
  cpus[1].flops = 8e10;
  EXPECT_EQ(line_of(judge_products(cpus, hosts), "products"), "PASS 80 to 100 GFLOP/s a rank");
  cpus[1].flops = 6e10;
  EXPECT_EQ(lines_of(judge_products(cpus, hosts), "products")[0].substr(0, 30), "WARN slower than the median of");
  cpus[1].flops = 1e10;
  EXPECT_EQ(lines_of(judge_products(cpus, hosts), "products")[0].substr(0, 30), "WARN slower than the median of");

  ByRank<ProductFacts> unknown =
      on_ranks(4, ProductFacts{.device = "NVIDIA X9000", .flops = 700e12, .peak_flops = 0, .gpu = healthy()});
  unknown[1].flops = 300e12;
  EXPECT_EQ(lines_of(judge_products(unknown, hosts), "products")[0].substr(0, 30), "FAIL slower than the median of");
}

TEST(DoctorGpus, ADeviceOfThisMachineMultiplies) {
  const Target cpu{.device = DeviceKind::kCpu, .compute = DType::kFloat32, .threads = 1};
  const auto backend = make_cpu_backend(1);
  const ProductFacts facts = probe_products(*backend, cpu, 0);
  EXPECT_GT(facts.flops, 0);
  EXPECT_FALSE(facts.gpu);
  if (cuda_device_count() == 0) GTEST_SKIP() << "no GPU";
  const Target gpu{.device = DeviceKind::kCuda, .compute = DType::kBfloat16};
  const auto cuda = make_cuda_backend(0);
  const ProductFacts there = probe_products(*cuda, gpu, 0);
  ASSERT_TRUE(there.gpu);
  EXPECT_FALSE(there.gpu->bus_id.empty());
  EXPECT_GT(there.gpu->total_bytes, 0);
  EXPECT_EQ(there.gpu->no_reading, "");
  EXPECT_GT(there.gpu->reading.temperature_c.value_or(0), 0);
  EXPECT_GT(there.gpu->reading.clock_mhz.value_or(0), 0);
}

TEST(DoctorGpus, WithoutADriverTheManagementLibraryIsSaidToBeMissing) {
  if (cuda_device_count() > 0) GTEST_SKIP() << "there is a driver";
  try {
    Nvml::open();
    GTEST_SKIP() << "there is a driver's library without a GPU";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kDevice);
  }
}

TEST(DoctorGpus, FactsTravelAsText) {
  ProductFacts facts{.device = "NVIDIA H200", .flops = 7e14, .peak_flops = 9e14, .gpu = healthy()};
  facts.gpu->reading.links.reset();
  const auto back = nlohmann::json::parse(nlohmann::json(facts).dump()).get<ProductFacts>();
  ASSERT_TRUE(back.gpu);
  EXPECT_EQ(back.gpu->reading.power_limit_watts, 700);
  EXPECT_FALSE(back.gpu->reading.links);
  EXPECT_EQ(back.flops, 7e14);
  facts.gpu.reset();
  EXPECT_FALSE(nlohmann::json(facts).get<ProductFacts>().gpu);
}

}  // namespace
}  // namespace retain::test
