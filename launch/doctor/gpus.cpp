#include "launch/doctor/gpus.h"

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "kernels/gpu_facts.h"
#include "launch/bench/report.h"
#include "trainer/model/linear.h"
#include "trainer/plan/gpu.h"

namespace retain::checkup {

namespace {

constexpr double kGigabyte = 1e9;
constexpr const char* kGroup = "gpus";

// Of the peak, which no product reaches: on H200s those of 8192 x 8192 x 8192 come to 0.70 to 0.78 of it.
constexpr double kUsualShare = 0.60, kBrokenShare = 0.25;
// Of the median: GPUs differ by 2 % in what they take of power; ranks on CPUs share processors, caches and memory, so
// that a slow one is a warning at most.
constexpr double kEvenOnGpus = 0.95, kEvenOnCpus = 0.70, kBrokenBesideOthers = 0.5;

// NVML's bits of what holds a clock down (nvmlClocksEventReasons).
constexpr uint64_t kHardwareSlowdown = 0x8, kSoftwareThermal = 0x20, kHardwareThermal = 0x40, kPowerBrake = 0x80;

void add_errors(Check& check, int rank, const GpuReading& r) {
  if (r.uncorrected_errors.value_or(0) > 0)
    check.amiss(rank, Verdict::kFail, "memory errors that could not be corrected",
                "leave the GPU out and reset it (nvidia-smi -r); if they come back, have it replaced",
                static_cast<double>(*r.uncorrected_errors), "errors since the driver was loaded");
  if (r.remapping_failed.value_or(false))
    check.amiss(rank, Verdict::kFail, "no spare memory rows are left", "have the GPU replaced");
  if (r.remapping_pending.value_or(false))
    check.amiss(rank, Verdict::kFail, "damaged memory rows wait for a reset", "reset the GPU: nvidia-smi -r");
  if (r.ecc == false)
    check.amiss(rank, Verdict::kWarn, "ECC is off: flipped bits go unseen", "nvidia-smi -e 1, and reset the GPU");
}

void add_throttling(Check& check, int rank, const GpuReading& r) {
  const uint64_t reasons = r.throttle_reasons.value_or(0);
  const double clock = r.clock_mhz.value_or(0);
  if (reasons & (kHardwareThermal | kSoftwareThermal))
    check.amiss(rank, Verdict::kWarn, "slowed down by heat", "look at the machine's cooling and its neighbours", clock,
                "MHz");
  if (reasons & kPowerBrake)
    check.amiss(rank, Verdict::kFail, "slowed down by the machine's power supply",
                "look at the power supplies and the rack's power limit", clock, "MHz");
  else if ((reasons & kHardwareSlowdown) && !(reasons & kHardwareThermal))
    check.amiss(rank, Verdict::kFail, "slowed down by its hardware", "reset the GPU; look at its power and cooling",
                clock, "MHz");
}

void add_settings(Check& check, int rank, const GpuReading& r) {
  if (r.power_limit_watts && r.usual_power_limit_watts && *r.power_limit_watts < *r.usual_power_limit_watts)
    check.amiss(rank, Verdict::kWarn, "its power limit is below the usual one",
                fmt::format("nvidia-smi -pl {}", *r.usual_power_limit_watts), *r.power_limit_watts, "W");
  if (r.persistence == false)
    check.amiss(rank, Verdict::kWarn, "persistence mode is off: starts take longer, settings get lost",
                "nvidia-smi -pm 1, or nvidia-persistenced");
  if (r.mig == true)
    check.amiss(rank, Verdict::kWarn, "it is cut into instances (MIG)",
                "nvidia-smi -mig 0 makes it whole; NCCL does not join instances");
}

void add_links(Check& check, int rank, const GpuFacts& gpu, int most_links) {
  const GpuReading& r = gpu.reading;
  if (r.active_links.value_or(0) < most_links)
    check.amiss(rank, Verdict::kFail, fmt::format("fewer NVLinks are up than the {} of the others", most_links),
                "reset the GPUs, look at nvidia-smi nvlink -s and the fabric manager", r.active_links.value_or(0),
                "up");
  // Idle links are slowed down: they were looked at under load.
  if (r.pcie_lanes && r.most_pcie_lanes && *r.pcie_lanes < *r.most_pcie_lanes)
    check.amiss(rank, Verdict::kWarn, "its PCIe link is narrower than it could be", "reseat the card, look at the slot",
                *r.pcie_lanes, "lanes");
  if (r.pcie_generation && r.highest_pcie_generation && *r.pcie_generation < *r.highest_pcie_generation)
    check.amiss(rank, Verdict::kWarn, "its PCIe link is slower than it could be", "look at the slot and the BIOS",
                *r.pcie_generation, "as its generation");
  if (!gpu.unreachable_peers.empty())
    check.amiss(rank, Verdict::kWarn, "it cannot read the memory of other GPUs of its machine",
                "look at nvidia-smi topo -p2p r; in containers give all GPUs and --ipc=host; PCIe ACS must be off",
                static_cast<double>(gpu.unreachable_peers.size()), "of them");
}

ByRank<std::string> texts(const ByRank<GpuFacts>& ranks, const auto& text_of) {
  ByRank<std::string> texts;
  for (const auto& [rank, gpu] : ranks) texts[rank] = text_of(gpu);
  return texts;
}

ByRank<double> numbers(const ByRank<GpuFacts>& ranks, const auto& number_of) {
  ByRank<double> numbers;
  for (const auto& [rank, gpu] : ranks) {
    if (const auto number = number_of(gpu.reading)) numbers[rank] = *number;
  }
  return numbers;
}

}  // namespace

Findings judge_gpus(const ByRank<GpuFacts>& ranks, const Hosts& hosts) {
  if (ranks.empty()) return {{Verdict::kPass, kGroup, "device", "none: the ranks compute on CPUs"}};
  int most_links = 0;
  for (const auto& [rank, gpu] : ranks) most_links = std::max(most_links, gpu.reading.active_links.value_or(0));

  const ByRank<std::string> names = texts(ranks, [](const GpuFacts& gpu) { return gpu.name; });
  Check device(kGroup, "device"), memory(kGroup, "memory"), readable(kGroup, "NVML"), errors(kGroup, "errors"),
      throttling(kGroup, "throttling"), settings(kGroup, "settings"), temperature(kGroup, "temperature"),
      links(kGroup, "links");
  for (const int rank : odd_ranks(names))
    device.amiss(rank, Verdict::kWarn, fmt::format("{} among others: the slowest sets the pace", names.at(rank)),
                 "use GPUs of one kind");
  for (const auto& [rank, gpu] : ranks) {
    if (gpu.used_by_others_bytes > gpu.total_bytes / 50)
      memory.amiss(rank, Verdict::kWarn, "another process has memory there", "nvidia-smi names it: end it, or wait",
                   static_cast<double>(gpu.used_by_others_bytes) / kGigabyte, "GB");
    if (!gpu.no_reading.empty()) {
      readable.amiss(rank, Verdict::kWarn, "health cannot be read: " + gpu.no_reading,
                     "in containers ask for the driver's utilities: NVIDIA_DRIVER_CAPABILITIES=compute,utility");
      continue;
    }
    const GpuReading& r = gpu.reading;
    add_errors(errors, rank, r);
    add_throttling(throttling, rank, r);
    add_settings(settings, rank, r);
    add_links(links, rank, gpu, most_links);
    if (r.temperature_c && r.slowdown_c && *r.temperature_c >= *r.slowdown_c - 5)
      temperature.amiss(rank, Verdict::kWarn, "close to where it slows down", "look at the machine's cooling",
                        *r.temperature_c, "C");
  }
  Findings findings = device.findings(hosts, describe_values(names, hosts));
  append(findings, memory.findings(hosts, "no other process has memory there"));
  append(findings, readable.findings(hosts, "health is readable"));
  append(findings, errors.findings(hosts, "no memory errors, ECC is on or not there"));
  append(findings,
         throttling.findings(
             hosts, "none under load but the power limit's, at " +
                        describe_range(numbers(ranks, [](const GpuReading& r) { return r.clock_mhz; }), "MHz")));
  append(findings,
         settings.findings(
             hosts, "power limit " +
                        describe_range(numbers(ranks, [](const GpuReading& r) { return r.power_limit_watts; }), "W") +
                        ", persistent, whole"));
  append(findings, temperature.findings(
                       hosts, describe_range(numbers(ranks, [](const GpuReading& r) { return r.temperature_c; }), "C") +
                                  " under load"));
  append(findings,
         links.findings(hosts, most_links > 0 ? fmt::format("{} NVLinks up, PCIe as wide as it can be", most_links)
                                              : "no NVLink, PCIe as wide as it can be"));
  return findings;
}

Findings judge_products(const ByRank<ProductFacts>& ranks, const Hosts& hosts) {
  const bool gpus =
      std::any_of(ranks.begin(), ranks.end(), [](const auto& each) { return each.second.gpu.has_value(); });
  const double unit = gpus ? 1e12 : 1e9;
  const std::string per_second = gpus ? "TFLOP/s" : "GFLOP/s";
  std::map<std::string, ByRank<double>> of_device;
  ByRank<double> rates;
  for (const auto& [rank, facts] : ranks) rates[rank] = of_device[facts.device][rank] = facts.flops / unit;
  Check check(kGroup, "products");
  for (const auto& [rank, facts] : ranks) {
    const double here = rates[rank], peak = facts.peak_flops / unit, median = median_of(of_device[facts.device]);
    if (here < kUsualShare * peak) {
      check.amiss(rank, here < kBrokenShare * peak ? Verdict::kFail : Verdict::kWarn,
                  fmt::format("below {:.0f} % of the peak of {:.0f} {}", 100 * kUsualShare, peak, per_second),
                  "see the lines on throttling, power and other processes", here, per_second);
    } else if (here < (facts.gpu ? kEvenOnGpus : kEvenOnCpus) * median) {
      check.amiss(rank, facts.gpu && here < kBrokenBesideOthers * median ? Verdict::kFail : Verdict::kWarn,
                  fmt::format("slower than the median of {:.3g} {}, and all wait for the slowest", median, per_second),
                  facts.gpu ? "leave the machine out, or look at its cooling, power and other processes"
                            : "see whether other work runs there, and whether ranks share processors",
                  here, per_second);
    }
  }
  return check.findings(hosts, describe_range(rates, per_second + " a rank"));
}

namespace {

/// What only the driver knows; the backend's own memory is not another's.
GpuFacts look_at_gpu(const Backend& backend, int gpu) {
  constexpr int64_t kOwnBytes = int64_t{1} << 30;  // context, kernels and handles of this process
  GpuFacts facts;
  facts.bus_id = cuda_bus_id(gpu);
  facts.name = backend.device_description().substr(0, backend.device_description().find(','));
  if (const auto memory = backend.gpu_memory()) {
    facts.total_bytes = memory->total_bytes;
    facts.used_by_others_bytes =
        std::max<int64_t>(0, memory->total_bytes - memory->free_bytes - backend.allocated_bytes() - kOwnBytes);
  }
  for (int peer = 0; peer < cuda_device_count(); ++peer) {
    if (peer != gpu && !cuda_reaches_peer(gpu, peer)) facts.unreachable_peers.push_back(peer);
  }
  try {
    facts.reading = Nvml::open().read(facts.bus_id);
  } catch (const Error& error) {
    facts.no_reading = error.what();
  }
  return facts;
}

}  // namespace

ProductFacts probe_products(Backend& backend, const Target& target, int gpu) {
  const bool cuda = target.device == DeviceKind::kCuda;
  const int64_t size = cuda ? 8192 : 512;
  const bench::Operand x = bench::make_random(backend, target.compute, size, size, 1, 1.0);
  const bench::Operand w = bench::make_random(backend, target.compute, size, size, 2, 0.02);
  const bench::Operand y = bench::make_operand(backend, target.compute, {size, size});
  const double flops = 2.0 * static_cast<double>(size * size * size);
  ProductFacts facts{.device = backend.device_description(),
                     .peak_flops = peak_flops(target, backend.device_description())};
  const auto work = [&] { linear(backend, x.view, w.view, y.view); };
  for (int i = 0; i < 3; ++i) work();
  // About half a second of a GPU at half its peak, so that clocks are those of long work. On a CPU the best of a few
  // short tries: who else had the processor meanwhile says nothing about it.
  const int calls = cuda ? std::max(20, static_cast<int>(0.25 * std::max(facts.peak_flops, 1e14) / flops)) : 4;
  const auto timer = backend.make_timer();
  for (int sample = 0; sample < (cuda ? 1 : 5); ++sample) {
    timer->start();
    for (int i = 0; i < calls; ++i) work();
    timer->stop();
    if (cuda) {
      std::this_thread::sleep_for(std::chrono::milliseconds(200));
      facts.gpu = look_at_gpu(backend, gpu);
    }
    facts.flops = std::max(facts.flops, flops * calls / std::max(timer->elapsed_ms() * 1e-3, 1e-9));
  }
  return facts;
}

}  // namespace retain::checkup
