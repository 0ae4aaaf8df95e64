// retain checkpoint check: a model's results beside golden values.
#include <fmt/core.h>

#include <iostream>
#include <nlohmann/json.hpp>

#include "launch/session.h"
#include "launch/verbs/verbs.h"
#include "trainer/interop/golden.h"

namespace retain {

namespace {

// Devices and types that a check goes through when none is named: everything this machine has.
std::vector<Target> check_targets(const CheckpointCheckOptions& options) {
  std::vector<Target> targets;
  const bool gpu = cuda_device_count() > 0;
  const auto add = [&](DeviceKind device, Precision precision) {
    if (options.device != DeviceKind::kAuto && options.device != device) return;
    if (options.precision != Precision::kAuto && options.precision != precision) return;
    Config config;
    config.device = device;
    config.precision = precision;
    targets.push_back(resolve_target(config, gpu, threads_per_rank({})));
  };
  add(DeviceKind::kCpu, Precision::kFp32);
  if (options.precision == Precision::kFp64) add(DeviceKind::kCpu, Precision::kFp64);
  if (gpu || options.device == DeviceKind::kCuda) {
    add(DeviceKind::kCuda, Precision::kFp32);
    add(DeviceKind::kCuda, Precision::kBf16);
  }
  if (targets.empty())
    throw Error(ErrorKind::kUsage, "that device has no such precision: cpu has fp32 and fp64, cuda has fp32 and bf16");
  return targets;
}

}  // namespace

int checkpoint_check(const CheckpointCheckOptions& options) {
  nlohmann::ordered_json json = nlohmann::ordered_json::array();
  int failures = 0;
  for (const Target& target : check_targets(options)) {
    const auto backend = make_backend(target, 0);
    const char* device = device_name(target.device);
    for (const GoldenComparison& c : check_golden(options.directory, *backend, target.compute)) {
      failures += c.passed() ? 0 : 1;
      json.push_back({{"device", device},
                      {"compute", dtype_name(target.compute)},
                      {"mode", c.mode},
                      {"name", c.name},
                      {"error", c.error},
                      {"limit", c.limit},
                      {"passed", c.passed()}});
      if (!options.json) {
        fmt::print("{} device={} compute={} mode={} error={:.2e} limit={:.0e} {}\n", c.passed() ? "ok  " : "FAIL",
                   device, dtype_name(target.compute), c.mode, c.error, c.limit, c.name);
      }
    }
  }
  if (options.json) {
    std::cout << nlohmann::ordered_json{{"schema", 1}, {"comparisons", json}, {"failures", failures}}.dump(2) << "\n";
  } else {
    fmt::print("{} comparisons, {} beyond their limit\n", json.size(), failures);
  }
  return failures == 0 ? 0 : static_cast<int>(ErrorKind::kData);
}

}  // namespace retain
