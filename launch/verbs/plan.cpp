// retain plan: what a run is going to be, without a GPU and without starting anything.
#include <fmt/core.h>

#include <algorithm>
#include <cstdio>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>

#include "launch/config/explain.h"
#include "launch/config/reader.h"
#include "launch/session.h"
#include "launch/verbs/plan_prediction.h"
#include "launch/verbs/verbs.h"
#include "parallel/agreement.h"
#include "parallel/host_name.h"
#include "parallel/placement.h"
#include "trainer/plan/memory_advice.h"
#include "trainer/plan/recompute_levels.h"
#include "trainer/plan/run_disk.h"

namespace retain {

namespace {

std::string mebibytes(int64_t bytes) { return fmt::format("{:.2f} MiB", static_cast<double>(bytes) / (1 << 20)); }

nlohmann::ordered_json to_json(const std::vector<PlanPart>& parts) {
  nlohmann::ordered_json json = nlohmann::ordered_json::object();
  for (const PlanPart& part : parts) json[part.name] = part.bytes;
  return json;
}

bool is_gpu_here(const Target& target) { return target.device == DeviceKind::kCuda && cuda_device_count() > 0; }

// The memory of a GPU of this machine, if the run is for GPUs and there is one that answers: to ask takes a context,
// which a GPU that is full or another process's alone refuses.
std::optional<GpuMemory> memory_here(const Target& target) {
  if (!is_gpu_here(target)) return std::nullopt;
  try {
    return cuda_memory(0);
  } catch (const Error& error) {
    fmt::print(stderr, "retain: the plan is not compared with the GPU here: {}\n", error.what());
    return std::nullopt;
  }
}

nlohmann::ordered_json to_json(const std::vector<LevelPlan>& levels) {
  nlohmann::ordered_json json = nlohmann::ordered_json::object();
  for (const LevelPlan& each : levels) {
    json[recompute_name(each.level)] = {{"needed_bytes", each.needed_bytes}, {"relative_time", each.relative_time}};
    if (each.level == Recompute::kSegment) json["segment"]["segment_tokens"] = each.segment_tokens;
  }
  return json;
}

nlohmann::ordered_json to_json(const RankExchanges& exchanges) {
  nlohmann::ordered_json json = {{"rank", exchanges.rank}, {"machines", exchanges.machines}};
  json["parts"] = nlohmann::ordered_json::object();
  for (const Exchange& part : exchanges.parts) {
    json["parts"][part.name] = {{"sent_inside", part.sent.inside},
                                {"sent_between", part.sent.between},
                                {"received_inside", part.received.inside},
                                {"received_between", part.received.between}};
  }
  return json;
}

nlohmann::ordered_json or_null(const std::optional<int64_t>& number) {
  return number ? nlohmann::ordered_json(*number) : nlohmann::ordered_json();
}

nlohmann::ordered_json to_json(const RunPlan& plan, const std::vector<LevelPlan>& levels, const DiskPlan& disk,
                               const RankExchanges& exchanges, const std::optional<GpuMemory>& gpu) {
  nlohmann::ordered_json here;  // null when there is no GPU to compare with
  if (gpu) {
    here = {{"gpus", cuda_device_count()},
            {"total_bytes", gpu->total_bytes},
            {"free_bytes", gpu->free_bytes},
            {"fits", plan.needed_bytes() <= gpu->total_bytes}};
  }
  return {{"schema", 2},
          {"device", device_name(plan.target.device)},
          {"compute", dtype_name(plan.target.compute)},
          {"mesh", {{"dp", plan.mesh.dp}, {"cp", plan.mesh.cp}, {"tp", plan.mesh.tp}}},
          {"parameters", plan.parameters.all},
          {"matmul_parameters", plan.parameters.matmul},
          {"flops_per_token", plan.flops_per_token},
          {"steps", plan.steps},
          {"micro_batches", plan.dealing.rounds()},
          {"micro_batches_of_all", plan.dealing.micro_batches},
          {"idle", plan.dealing.idle()},
          {"segments", plan.shape.segment_count},
          {"segment_tokens", plan.shape.segment_tokens()},
          {"memory_bytes", to_json(plan.memory)},
          {"memory_bytes_total", plan.memory_bytes()},
          {"needed_bytes", plan.needed_bytes()},
          {"library_bytes", to_json(plan.libraries)},
          {"library_bytes_total", plan.libraries_bytes()},
          {"save_bytes", plan.save_bytes},
          {"staging_bytes", plan.staging_bytes},
          {"recompute", to_json(levels)},
          {"machine", here},
          {"checkpoint_bytes", disk.one_bytes},
          {"checkpoints_at_once", disk.most_count},
          {"checkpoints_at_once_bytes", disk.most_bytes},
          {"checkpoints_at_the_end", disk.end_count},
          {"checkpoints_at_the_end_bytes", disk.end_bytes},
          {"disk_free_bytes", or_null(disk.free_bytes)},
          {"disk_lacks_at_step", or_null(disk.lacks_at)},
          {"exchanged_bytes_per_step", to_json(exchanges)}};
}

void print_memory(const RunPlan& plan) {
  const auto line = [](const std::string& name, int64_t bytes) {
    fmt::print("  {:<20}{:>16}  ({} bytes)\n", name, mebibytes(bytes), bytes);
  };
  fmt::print("memory of one rank{}\n", plan.mesh.ranks() > 1 ? ", the same on each" : "");
  for (const PlanPart& part : plan.memory) line(part.name, part.bytes);
  line("total", plan.memory_bytes());
  fmt::print("taken of the machine's memory besides\n");
  line("copy to save from", plan.save_bytes);
  line("batches on their way", plan.staging_bytes);
  if (plan.libraries.empty()) return;
  fmt::print("taken of its GPU besides, about\n");
  for (const PlanPart& part : plan.libraries) line(part.name, part.bytes);
  line("with the total", plan.needed_bytes());
}

void print_levels(const std::vector<LevelPlan>& levels, const Config& config) {
  fmt::print("train.recompute         with the total  time of a step, about\n");
  for (const LevelPlan& each : levels) {
    fmt::print("  {:<12}{:>20} GiB  x {:.2f}", recompute_name(each.level), gibibytes(each.needed_bytes),
               each.relative_time);
    if (each.level == Recompute::kSegment)
      fmt::print("  in segments of {} tokens{}", each.segment_tokens,
                 each.segment_tokens == config.data.seq_len ? " (whole sequences)" : "");
    fmt::print("{}\n", each.level == config.train.recompute ? "  (this run)" : "");
  }
}

// Whether it fits, where that can be known, and what to do if not.
void print_fit(const RunPlan& plan, const Config& config, const GpuMemory& gpu) {
  const int64_t spare = gpu.total_bytes - plan.needed_bytes();
  const int gpus = cuda_device_count(), ranks = plan.mesh.ranks();
  fmt::print("GPU here     {} GiB{}: {}\n", gibibytes(gpu.total_bytes),
             gpus < ranks ? fmt::format(" (one of this machine's {}, for {} ranks)", gpus, ranks) : "",
             spare >= 0 ? fmt::format("fits, {} GiB to spare", gibibytes(spare))
                        : fmt::format("{} GiB too small; {}", gibibytes(-spare),
                                      memory_advice(config, plan.mesh.ranks(), plan.target, gpu.total_bytes)));
}

// What the number of replicas costs, and which numbers of tensor-parallel ranks there are.
void print_choices(const RunPlan& plan, const Config& config) {
  if (plan.dealing.idle() > 0) {
    const int64_t dp = plan.dealing.replicas, whole = plan.dealing.micro_batches / dp * dp;
    fmt::print("dealt        {} (none with train.batch_tokens: {} or {})\n", plan.dealing.describe(),
               whole * config.train.micro_batch_tokens, (whole + dp) * config.train.micro_batch_tokens);
  }
  fmt::print("legal tp     {} (divide {} heads and ffn {})\n", legal_tensor_parallel(config.model), config.model.heads,
             config.model.ffn_size);
}

void print_placement(const Placement& placement, const ModelConfig& model) {
  fmt::print("placement\n");
  for (const std::string& line : placement.describe()) fmt::print("  {}\n", line);
  const std::string warning = placement.warning(most_tensor_parallel(model));
  if (!warning.empty()) fmt::print(stderr, "retain: {}\n", warning);
}

void print_disk(const DiskPlan& disk, const Config& config) {
  fmt::print("checkpoints  one takes {}; up to {} at once ({}), {} at the end ({})", disk_size(disk.one_bytes),
             disk.most_count, disk_size(disk.most_bytes), disk.end_count, disk_size(disk.end_bytes));
  if (disk.free_bytes) fmt::print("; {} are free in {}", disk_size(*disk.free_bytes), config.run.dir);
  fmt::print("\n");
  std::fflush(stdout);
  const std::string warning = disk.warning(retention_of(config.checkpoint));
  if (!warning.empty()) fmt::print(stderr, "retain: {}\n", warning);
}

void print_exchanges(const RankExchanges& exchanges, int ranks) {
  if (exchanges.parts.empty()) return;
  fmt::print("sent in a step by rank {}, which has the most, and as much received; {} ranks on {} machine{}\n",
             exchanges.rank, ranks, exchanges.machines, exchanges.machines == 1 ? "" : "s");
  fmt::print("  {:<20}{:>16}{:>20}\n", "", "inside", "between machines");
  for (const Exchange& part : exchanges.parts)
    fmt::print("  {:<20}{:>16}{:>20}\n", part.name, mebibytes(part.sent.inside), mebibytes(part.sent.between));
}

void print(const RunPlan& plan, const std::vector<LevelPlan>& levels, const DiskPlan& disk,
           const RankExchanges& exchanges, const Config& config, const std::optional<GpuMemory>& gpu) {
  const ModelConfig& m = config.model;
  fmt::print("model        {} layers, hidden {}, {} heads {}/{}, ffn {}, vocabulary {}\n", m.layers, m.hidden_size,
             m.heads, m.key_dim(), m.value_dim(), m.ffn_size, m.vocab_size);
  fmt::print("parameters   {} ({} in matrix products)\n", plan.parameters.all, plan.parameters.matmul);
  fmt::print("FLOPs/token  {:.4g} (6 x matmul parameters + 12 x layers x hidden x value head size)\n",
             plan.flops_per_token);
  fmt::print("training     {} steps of {} tokens, {:.4g} FLOPs in all\n", plan.steps, config.train.batch_tokens,
             plan.flops_per_token * static_cast<double>(plan.steps * config.train.batch_tokens));
  fmt::print("layout       {} on {}, {}; {} micro-batches of {} tokens a step and replica\n", plan.mesh.describe(),
             device_name(plan.target.device), dtype_name(plan.target.compute), plan.dealing.rounds(),
             config.train.micro_batch_tokens);
  print_choices(plan, config);
  print_memory(plan);
  print_levels(levels, config);
  if (gpu) print_fit(plan, config, *gpu);
  print_disk(disk, config);
  print_exchanges(exchanges, plan.mesh.ranks());
}

/// Of every rank, its machine: where the launcher put it, or machines of so many ranks one after the other.
std::vector<int> machine_of_each(const PlanOptions& options, const std::vector<std::string>& hosts, int ranks) {
  constexpr int kUsualGpus = 8;
  if (options.ranks_per_node > 0 || ranks != static_cast<int>(hosts.size()))
    return machines_of(ranks, options.ranks_per_node > 0 ? options.ranks_per_node : kUsualGpus);
  std::map<std::string, int> numbers;
  std::vector<int> machines;
  for (const std::string& host : hosts)
    machines.push_back(numbers.try_emplace(host, static_cast<int>(numbers.size())).first->second);
  return machines;
}

/// What is there of a run whose directory holds checkpoints, which goes on from the newest.
DiskPlan plan_disk_here(const Config& config, const RunPlan& plan) {
  CheckpointsOnDisk found;
  const Outcome looked = attempt([&] { found = look_at_checkpoints(config.run.dir); });
  if (!looked.ok) fmt::print(stderr, "retain: the plan does not know what is in run.dir: {}\n", looked.message);
  const int64_t done = found.steps.empty() ? 0 : std::min(found.steps.front().step, plan.steps);
  return plan_disk(config, plan, done, plan.steps, found);
}

/// What the plan is for: the GPU that was named, or what is here.
struct Planned {
  Target target;
  const Gpu* gpu = nullptr;  ///< nullptr where nothing is predicted
  std::optional<GpuMemory> here;
};

Planned planned_for(const PlanOptions& options, Config& config, int ranks) {
  Planned planned;
  if (!options.gpu.empty()) {
    config.device = DeviceKind::kCuda;
    planned.gpu = &predicted_gpu(options.gpu);
    planned.target = resolve_target(config, true, 1);
    planned.target.memory_bytes = planned.gpu->memory_bytes;
    return planned;
  }
  planned.target = resolve_target(config, cuda_device_count() > 0, threads_per_rank({.ranks = ranks}));
  planned.here = memory_here(planned.target);
  if (planned.here) {
    planned.target.memory_bytes = planned.here->total_bytes;
    planned.gpu = find_gpu(cuda_device_name(0));
    if (planned.gpu != nullptr && !planned.gpu->is_predicted()) planned.gpu = nullptr;
  }
  return planned;
}

double network_bytes_per_second(const PlanOptions& options) { return options.network_gbits * 1e9 / 8; }

void show_search(const PlanOptions& options, const Config& config, const Planned& planned, int ranks) {
  if (planned.gpu == nullptr)
    throw Error(ErrorKind::kUsage, "--search needs a GPU to predict for: --gpu h100, h200, a100, b200, …");
  constexpr int kUsualGpus = 8;
  const SearchSpace space = {.gpus = ranks,
                             .gpus_a_machine = options.ranks_per_node > 0 ? options.ranks_per_node : kUsualGpus,
                             .network_bytes_per_second = network_bytes_per_second(options)};
  const LayoutSearch search = search_layouts(config, space, planned.target, *planned.gpu);
  if (options.json) {
    nlohmann::ordered_json json = {{"schema", 2}, {"gpu", planned.gpu->name}, {"gpus", ranks}};
    json.update(to_json(search, config, options.price));
    std::cout << json.dump(2) << "\n";
  } else {
    print(search, config, *planned.gpu, options.price);
  }
}

/// hosts: of the ranks of the launcher.
void show_plan(const PlanOptions& options, const std::vector<std::string>& hosts) {
  if (!options.explain.empty()) {
    std::cout << explain(options.explain);
    return;
  }
  const int started = static_cast<int>(hosts.size()), ranks = options.ranks ? options.ranks : started;
  ParsedConfig parsed = load_config(options.config, options.sets, options.search ? 0 : ranks);
  for (const std::string& doubt : parsed.doubts) fmt::print(stderr, "retain: {}\n", doubt);
  Config& config = parsed.config;
  const Planned planned = planned_for(options, config, ranks);
  if (options.search) return show_search(options, config, planned, ranks);
  const RunPlan plan = make_plan(config, ranks, planned.target);
  const std::vector<LevelPlan> levels = plan_levels(config, ranks, planned.target);
  const DiskPlan disk = plan_disk_here(config, plan);
  const RankExchanges exchanges =
      busiest_exchanges(plan.traffic, plan.mesh, plan.dealing, machine_of_each(options, hosts, ranks),
                        planned.target.device == DeviceKind::kCuda);
  std::optional<Prediction> prediction;
  if (planned.gpu != nullptr) {
    prediction = {.gpu = planned.gpu,
                  .time = predict_step(config, plan, exchanges, *planned.gpu, network_bytes_per_second(options)),
                  .cost = {},
                  .price = options.price};
    prediction->cost = cost_of(config, plan, *planned.gpu, prediction->time.seconds());
  }
  const std::optional<MeasuredSteps> measured = measured_steps(config.run.dir);
  if (options.json) {
    nlohmann::ordered_json json = to_json(plan, levels, disk, exchanges, planned.here);
    json["predicted"] = prediction ? to_json(*prediction) : nlohmann::ordered_json();
    json["measured"] = measured ? to_json(*measured) : nlohmann::ordered_json();
    std::cout << json.dump(2) << "\n";
    return;
  }
  print(plan, levels, disk, exchanges, config, planned.here);
  if (prediction) print(*prediction, ranks);
  if (measured) print(*measured, prediction ? &*prediction : nullptr, config.run.dir);
  if (ranks > 1 && ranks == started) print_placement(place_ranks(plan.mesh, hosts), config.model);
}

}  // namespace

int plan(const PlanOptions& options, const MpiEnvironment* mpi) {
  const std::unique_ptr<Communicator> host = make_host_communicator(mpi);
  const std::vector<std::string> hosts = gather_texts(*host, host_name());
  const auto show = [&] { show_plan(options, hosts); };
  const Outcome shown = broadcast_outcome(*host, host->rank() == 0 ? attempt(show) : Outcome{}, 0);
  if (!shown.ok) throw ConfigError(shown.kind, shown.message);
  return 0;
}

}  // namespace retain
