#include "launch/preflight.h"

#include <fmt/core.h>

#include <fstream>

#include "trainer/checkpoint/exchange.h"
#include "trainer/data/loader.h"
#include "trainer/memory_advice.h"

namespace retain {

namespace {

// MemAvailable of /proc/meminfo; 0 where there is none.
int64_t available_memory_bytes() {
  std::ifstream in("/proc/meminfo");
  for (std::string key; in >> key;) {
    int64_t kibibytes = 0;
    if (key == "MemAvailable:" && in >> kibibytes) return kibibytes << 10;
  }
  return 0;
}

void look_at_inputs(const Config& config, const Target& target, int ranks) {
  const TrainLoader loader(config.data, config.train, config.model.vocab_size, config.run.seed, config.mesh(ranks), {});
  for (const auto& [name, path] : config.data.valid) const TokenSet set(path, config.model.vocab_size);
  if (target.device == DeviceKind::kCuda && cuda_device_count() == 0) {
    throw Error(ErrorKind::kDevice,
                "device is cuda, but this machine shows no GPU, or this build has no CUDA; "
                "device: cpu trains without");
  }
}

void throw_if_failed(const Outcome& outcome) {
  if (!outcome.ok) throw ConfigError(outcome.kind, outcome.message);
}

// What this process may have of a GPU: what is free, and the context that it has there already.
int64_t obtainable_bytes(const GpuMemory& memory) { return memory.free_bytes + kCudaContextBytes; }

// Rank 0 looks at its machine for all.
void check_machine(Communicator& host, const Config& config, const Target& target, const LocalPlace& place) {
  const auto look = [&] {
    const int64_t available = available_memory_bytes();
    if (available > 0) check_host_memory(config, host.size(), target, place.ranks, available);
  };
  throw_if_failed(broadcast_outcome(host, host.rank() == 0 ? attempt(look) : Outcome{}, 0));
}

}  // namespace

void check_host_memory(const Config& config, int ranks, const Target& target, int local_ranks,
                       int64_t available_bytes) {
  const RunPlan plan = make_plan(config, ranks, target);
  const bool gpu = target.device == DeviceKind::kCuda;
  const int64_t wanted = (gpu ? plan.save_bytes : plan.needed_bytes()) * local_ranks;
  if (wanted <= available_bytes) return;
  throw ConfigError(
      ErrorKind::kOutOfMemory,
      fmt::format("{} rank(s) of this machine need {} GiB{}, {} GiB are available; {}", local_ranks, gibibytes(wanted),
                  gpu ? " of its memory to save checkpoints from" : "", gibibytes(available_bytes),
                  gpu ? "more machines with fewer ranks each, or a smaller model, would help"
                      : memory_advice(config, ranks, target, available_bytes / local_ranks)));
}

void check_gpu_memory(const Config& config, int ranks, const Target& target, const GpuMemory& memory) {
  const RunPlan plan = make_plan(config, ranks, target);
  const int64_t obtainable = obtainable_bytes(memory);
  if (plan.needed_bytes() <= obtainable) return;
  throw ConfigError(
      ErrorKind::kOutOfMemory,
      fmt::format(
          "a rank needs {} GiB of its GPU, {} GiB of that for CUDA, cuBLAS and NCCL, but can have {} of {} GiB{}; {}",
          gibibytes(plan.needed_bytes()), gibibytes(plan.library_bytes()), gibibytes(obtainable),
          gibibytes(memory.total_bytes),
          plan.needed_bytes() <= memory.total_bytes ? ": another process has memory there" : "",
          memory_advice(config, ranks, target, obtainable)));
}

void check_memory(Communicator& host, const Config& config, const Target& target, const LocalPlace& place) {
  if (target.device != DeviceKind::kCuda) return check_machine(host, config, target, place);
  throw_if_failed(
      agree(host, attempt([&] { check_gpu_memory(config, host.size(), target, cuda_memory(device_of(place.rank))); })));
}

void check_inputs(Communicator& host, const Config& config, const Target& target) {
  const auto look = [&] { look_at_inputs(config, target, host.size()); };
  throw_if_failed(broadcast_outcome(host, host.rank() == 0 ? attempt(look) : Outcome{}, 0));
}

void check_all_memory(Communicator& host, const Config& config, const Target& target, const LocalPlace& place) {
  check_memory(host, config, target, place);
  if (target.device == DeviceKind::kCuda) check_machine(host, config, target, place);  // which saves from there
}

std::string explain_out_of_memory(const std::string& what, const Config& config, int ranks, const Target& target,
                                  const LocalPlace& place) {
  int64_t limit = available_memory_bytes() / place.ranks;
  if (target.device == DeviceKind::kCuda) {
    limit = 0;  // a GPU that does not even answer: the strongest remedies
    static_cast<void>(attempt([&] { limit = obtainable_bytes(cuda_memory(device_of(place.rank))); }));
  }
  return concat(what, "; ", memory_advice(config, ranks, target, limit));
}

}  // namespace retain
