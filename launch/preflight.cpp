#include "launch/preflight.h"

#include <fmt/core.h>

#include <algorithm>
#include <fstream>

#include "trainer/checkpoint/exchange.h"
#include "trainer/data/loader.h"

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

double gibibytes(int64_t bytes) { return static_cast<double>(bytes) / (int64_t{1} << 30); }

void check_memory(const RunPlan& plan, int local_ranks) {
  const int64_t available = available_memory_bytes(), wanted = plan.memory_bytes() * local_ranks;
  if (available == 0 || wanted <= available) return;
  std::vector<PlanPart> parts = plan.memory;
  std::sort(parts.begin(), parts.end(), [](const PlanPart& a, const PlanPart& b) { return a.bytes > b.bytes; });
  std::string largest;
  for (size_t i = 0; i < std::min<size_t>(3, parts.size()); ++i) {
    largest += fmt::format("{}{} {:.1f} GiB", i ? ", " : "", parts[i].name, gibibytes(parts[i].bytes));
  }
  throw Error(
      ErrorKind::kOutOfMemory,
      fmt::format(
          "{} rank(s) of this machine need {:.1f} GiB, {:.1f} GiB are available; the largest parts of a rank: {}. "
          "A smaller train.micro_batch_tokens, more ranks (parallel.tp, parallel.zero: 1) or a smaller model "
          "would help; 'retain plan' lists every part",
          local_ranks, gibibytes(wanted), gibibytes(available), largest));
}

void look(const Config& config, const Target& target, int ranks, int local_ranks) {
  const TrainLoader loader(config.data, config.train, config.model.vocab_size, config.run.seed, config.mesh(ranks), {});
  for (const auto& [name, path] : config.data.valid) const TokenSet set(path, config.model.vocab_size);
  if (target.device == DeviceKind::kCuda) {
    if (cuda_device_count() == 0) {
      throw Error(ErrorKind::kDevice,
                  "device is cuda, but this machine shows no GPU, or this build has no CUDA; "
                  "device: cpu trains without");
    }
  } else {
    check_memory(make_plan(config, ranks, target), local_ranks);
  }
}

}  // namespace

void check_before_start(Communicator& host, const Config& config, const Target& target, int local_ranks) {
  const Outcome mine = host.rank() == 0 ? attempt([&] { look(config, target, host.size(), local_ranks); }) : Outcome{};
  const Outcome outcome = broadcast_outcome(host, mine, 0);
  if (!outcome.ok) throw ConfigError(outcome.kind, outcome.message);
}

}  // namespace retain
