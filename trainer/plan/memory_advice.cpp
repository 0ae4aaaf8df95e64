#include "trainer/plan/memory_advice.h"

#include <fmt/core.h>

#include <algorithm>
#include <optional>

namespace retain {

namespace {

constexpr int kMostSplits = 8;  // as many GPUs as a node usually has

// A configuration that may need less, on this many ranks, and how to say it.
struct Remedy {
  std::string text;
  Config config;
  int ranks;
};

// Of one kind, the mildest first.
using Remedies = std::vector<Remedy>;

Remedies smaller_micro_batches(const Config& config, int ranks) {
  Remedies remedies;
  const int64_t all = config.train.micro_batch_tokens / config.data.seq_len;
  for (int64_t sequences = all / 2; sequences > 0; sequences /= 2) {
    Config changed = config;
    changed.train.micro_batch_tokens = sequences * config.data.seq_len;
    remedies.push_back({fmt::format("train.micro_batch_tokens: {}", changed.train.micro_batch_tokens), changed, ranks});
  }
  return remedies;
}

Remedies more_recompute(const Config& config, int ranks) {
  Remedies remedies;
  for (const Recompute level : kRecomputeLevels) {
    if (level <= config.train.recompute) continue;
    Config changed = config;
    changed.train.recompute = level;
    remedies.push_back({fmt::format("train.recompute: {}", recompute_name(level)), changed, ranks});
  }
  return remedies;
}

Remedies higher_zero(const Config& config, int ranks) {
  Remedies remedies;
  for (int zero = config.parallel.zero + 1; zero <= 2; ++zero) {
    Config changed = config;
    changed.parallel.zero = zero;
    remedies.push_back({fmt::format("parallel.zero: {}", zero), changed, ranks});
  }
  return remedies;
}

// Splits an axis further: over ranks that so far hold other samples or, on GPUs, over more ranks, each with a memory of
// its own.
Remedies longer_axis(const Config& config, int ranks, bool more_ranks, const char* name, int ParallelConfig::*axis) {
  Remedies remedies;
  const int dp = config.mesh(ranks).dp;
  for (int factor = 2; factor <= kMostSplits; factor *= 2) {
    const bool within = dp % factor == 0;
    if (!within && !more_ranks) break;
    Config changed = config;
    changed.parallel.*axis *= factor;
    changed.parallel.dp = within ? dp / factor : dp;
    const int then = within ? ranks : ranks * factor;
    std::string text = fmt::format("parallel.{}: {}", name, changed.parallel.*axis);
    if (within && config.parallel.dp != 0) text += fmt::format(" with parallel.dp: {}", changed.parallel.dp);
    if (!within) text += fmt::format(" on {} ranks", then);
    remedies.push_back({text, changed, then});
  }
  return remedies;
}

// More replicas share the optimizer's state.
Remedies more_replicas(const Config& config, int ranks) {
  Remedies remedies;
  const char* with = config.parallel.zero > 0 ? "" : " with parallel.zero: 1";
  for (int factor = 2; factor <= kMostSplits; factor *= 2) {
    Config changed = config;
    changed.parallel.zero = std::max(1, config.parallel.zero);
    changed.parallel.dp = config.mesh(ranks).dp * factor;
    const int then = ranks * factor;
    remedies.push_back({fmt::format("parallel.dp: {}{} on {} ranks", changed.parallel.dp, with, then), changed, then});
  }
  return remedies;
}

struct Help {
  std::string text;
  bool enough;
};

// The mildest that is enough, or else the one that helps most if it helps at all.
std::optional<Help> choose(const Remedies& remedies, const Target& target, int64_t needed, int64_t limit) {
  const Remedy* best = nullptr;
  int64_t least = needed;
  for (const Remedy& remedy : remedies) {
    if (!validate(remedy.config, remedy.ranks).empty()) continue;
    const int64_t then = make_plan(remedy.config, remedy.ranks, target).needed_bytes();
    if (then >= least) continue;
    best = &remedy;
    least = then;
    if (least <= limit) break;
  }
  const bool enough = least <= limit;
  if (!best || (!enough && least > needed - needed / 20)) return std::nullopt;
  return Help{fmt::format("{} ({} GiB a rank)", best->text, gibibytes(least)), enough};
}

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

}  // namespace

std::string gibibytes(int64_t bytes) {
  return fmt::format("{:.{}f}", static_cast<double>(bytes) / (int64_t{1} << 30), bytes < int64_t{1} << 30 ? 2 : 1);
}

std::string memory_advice(const Config& config, int ranks, const Target& wanted, int64_t limit_bytes) {
  Target target = wanted;
  if (target.device == DeviceKind::kCuda) target.memory_bytes = limit_bytes;
  const RunPlan plan = make_plan(config, ranks, target);
  std::vector<PlanPart> parts = plan.memory;
  if (target.device != DeviceKind::kCuda) parts.push_back({"copy to save from", plan.save_bytes});
  std::stable_sort(parts.begin(), parts.end(), [](const PlanPart& a, const PlanPart& b) { return a.bytes > b.bytes; });
  parts.resize(std::min<size_t>(3, parts.size()));
  std::vector<std::string> largest;
  for (const PlanPart& part : parts) largest.push_back(fmt::format("{} {} GiB", part.name, gibibytes(part.bytes)));

  const bool more_ranks = target.device == DeviceKind::kCuda;
  std::vector<Remedies> kinds = {smaller_micro_batches(config, ranks), more_recompute(config, ranks),
                                 higher_zero(config, ranks),
                                 longer_axis(config, ranks, more_ranks, "tp", &ParallelConfig::tp),
                                 longer_axis(config, ranks, more_ranks, "cp", &ParallelConfig::cp)};
  if (more_ranks) kinds.push_back(more_replicas(config, ranks));
  std::vector<std::string> enough, not_enough;
  for (const Remedies& remedies : kinds) {
    const std::optional<Help> help = choose(remedies, target, plan.needed_bytes(), limit_bytes);
    if (help) (help->enough ? enough : not_enough).push_back(help->text);
  }
  not_enough.push_back("a smaller model");
  return fmt::format("the largest parts of a rank: {}; {}: {}; 'retain plan' lists every part", joined(largest),
                     enough.empty() ? "would help" : "enough is each of", joined(enough.empty() ? not_enough : enough));
}

}  // namespace retain
