// retain checkpoint list and check.
#include <fmt/core.h>

#include <iostream>
#include <nlohmann/json.hpp>

#include "launch/session.h"
#include "launch/verbs.h"
#include "trainer/checkpoint/store.h"
#include "trainer/interop/golden.h"

namespace retain {

namespace {

struct Entry {
  int64_t step = 0, tokens = 0, bytes = 0;
  std::string mesh, problem, path;
};

Entry describe_step(const StepEntry& step) {
  Entry entry{.step = step.step, .mesh = "", .problem = find_obvious_damage(step.path), .path = step.path.string()};
  if (!entry.problem.empty()) return entry;
  const Manifest manifest = read_manifest(step.path);
  entry.tokens = manifest.state.tokens;
  entry.bytes = manifest.total_bytes();
  entry.mesh = manifest.state.mesh.describe();
  return entry;
}

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
    targets.push_back(resolve_target(config, gpu, threads_per_rank(1)));
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

int run(const CheckpointListOptions& options) {
  nlohmann::ordered_json json = nlohmann::ordered_json::array();
  for (const StepEntry& step : list_steps(checkpoints_directory(options.run))) {
    const Entry entry = describe_step(step);
    json.push_back({{"step", entry.step},
                    {"tokens", entry.tokens},
                    {"bytes", entry.bytes},
                    {"mesh", entry.mesh},
                    {"problem", entry.problem},
                    {"path", entry.path}});
    if (options.json) continue;
    if (entry.problem.empty()) {
      fmt::print("step={} tokens={} bytes={} mesh=\"{}\" path={}\n", entry.step, entry.tokens, entry.bytes, entry.mesh,
                 entry.path);
    } else {
      fmt::print("step={} damaged path={} reason=\"{}\"\n", entry.step, entry.path, entry.problem);
    }
  }
  if (options.json) std::cout << nlohmann::ordered_json{{"schema", 1}, {"checkpoints", json}}.dump(2) << "\n";
  if (!options.json && json.empty())
    fmt::print(stderr, "no checkpoints in {}\n", checkpoints_directory(options.run).string());
  return 0;
}

int run(const CheckpointCheckOptions& options) {
  nlohmann::ordered_json json = nlohmann::ordered_json::array();
  int failures = 0;
  for (const Target& target : check_targets(options)) {
    const auto backend = make_backend(target, 0);
    for (const GoldenComparison& c : check_golden(options.directory, *backend, target.compute)) {
      failures += c.passed() ? 0 : 1;
      json.push_back({{"device", backend->name()},
                      {"compute", dtype_name(target.compute)},
                      {"mode", c.mode},
                      {"name", c.name},
                      {"error", c.error},
                      {"limit", c.limit},
                      {"passed", c.passed()}});
      if (!options.json) {
        fmt::print("{} device={} compute={} mode={} error={:.2e} limit={:.0e} {}\n", c.passed() ? "ok  " : "FAIL",
                   backend->name(), dtype_name(target.compute), c.mode, c.error, c.limit, c.name);
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
