#include "trainer/study/plan.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "trainer/json.h"
#include "trainer/plan/plan.h"
#include "trainer/study/csv.h"
#include "trainer/study/step_time.h"

namespace retain::study {
namespace {

using Json = nlohmann::ordered_json;

constexpr double kSecondsPerHour = 3600;
constexpr size_t kMostNamed = 8;
constexpr int64_t kMost = INT64_MAX;

const char* schedule_name(ScheduleKind kind) {
  switch (kind) {
    case ScheduleKind::kLinear: return "linear";
    case ScheduleKind::kCosine: return "cosine";
    case ScheduleKind::kWsd: return "wsd";
    case ScheduleKind::kConstant: return "constant";
  }
  return "";
}

std::optional<double> epochs_of(int64_t tokens, const std::vector<SetSize>& sets) {
  if (sets.empty()) return std::nullopt;
  double most = 0;
  for (const SetSize& set : sets)
    most = std::max(most, static_cast<double>(tokens) * set.share / static_cast<double>(set.tokens));
  return most;
}

PlannedRun planned(const Run& run, const Study& study, const std::vector<SetSize>& sets) {
  const Config& config = run.config;
  const RunPlan plan = retain::make_plan(config, study.machine.ranks, resolve_target(config, study.on_gpu(), 1));
  const auto tokens = static_cast<double>(config.train.tokens);
  PlannedRun p{.name = run.name, .size = run.size, .parent = run.parent, .is_cell = run.is_cell};
  p.seed = config.run.seed;
  p.parameters = count(config.model);
  p.steps = plan.steps;
  p.first_step = run.first_step;
  p.tokens = config.train.tokens;
  p.flops = plan.flops_per_token * tokens;
  p.flops_6nd = 6 * static_cast<double>(p.parameters.all) * tokens;
  p.batch_tokens = config.train.batch_tokens;
  p.micro_batch_tokens = config.train.micro_batch_tokens;
  p.warmup_steps = config.schedule.warmup_steps;
  p.lr = config.optimizer.lr;
  p.beta2 = config.optimizer.beta2;
  p.weight_decay = config.optimizer.weight_decay;
  p.schedule = schedule_name(config.schedule.kind);
  p.layers = config.model.layers;
  p.hidden_size = config.model.hidden_size;
  p.heads = config.model.heads;
  p.ffn_size = config.model.ffn_size;
  p.layout = plan.mesh.describe();
  p.memory_bytes = plan.needed_bytes();
  p.seconds = static_cast<double>(p.steps - p.first_step) * step_seconds(config, plan, study.machine);
  p.gpu_hours = p.seconds / kSecondsPerHour * study.machine.ranks / study.machine.jobs_per_gpu;
  p.epochs = epochs_of(p.tokens, sets);
  return p;
}

void refuse_over_hours(const Plan& plan, double most) {
  if (most <= 0 || plan.gpu_hours() <= most) return;
  std::vector<const PlannedRun*> dearest;
  for (const PlannedRun& run : plan.runs) dearest.push_back(&run);
  std::ranges::stable_sort(dearest, std::greater{}, &PlannedRun::gpu_hours);
  std::string named;
  for (size_t i = 0; i < std::min(dearest.size(), kMostNamed); ++i)
    named += fmt::format("{}{} ({:.3g})", i ? ", " : "", dearest[i]->name, dearest[i]->gpu_hours);
  throw ConfigError(
      ErrorKind::kConfig,
      fmt::format("the study takes {:.3g} GPU-hours by the plan, more than limits.max_gpu_hours = {:.3g}; "
                  "most take {}{}: leave some out, or raise the limit",
                  plan.gpu_hours(), most, named, dearest.size() > kMostNamed ? ", …" : ""));
}

void refuse_over_epochs(const Plan& plan, double most) {
  std::string named;
  size_t count = 0;
  for (const PlannedRun& run : plan.runs) {
    if (most <= 0 || !run.epochs || *run.epochs <= most || !run.is_cell) continue;
    if (++count <= kMostNamed) named += fmt::format("{}{} ({:.3g})", count > 1 ? ", " : "", run.name, *run.epochs);
  }
  if (count > 0)
    throw ConfigError(
        ErrorKind::kConfig,
        fmt::format("{} of the study see their data more often than limits.max_epochs = {:.3g}: {}{}; give "
                    "them more data or fewer tokens",
                    count == 1 ? "1 cell" : fmt::format("{} cells", count), most, named,
                    count > kMostNamed ? ", …" : ""));
}

/// As many runs share a device as the plan says, and any may be among them.
void refuse_over_memory(const Plan& plan, double device_bytes) {
  if (device_bytes <= 0 || plan.runs.empty()) return;
  constexpr double kGibibyte = 1 << 30;
  const PlannedRun& most = *std::ranges::max_element(plan.runs, {}, &PlannedRun::memory_bytes);
  // A CPU's memory is that of all ranks of a run.
  const double bytes = static_cast<double>(most.memory_bytes) * (plan.on_gpu ? 1 : plan.ranks);
  if (bytes * plan.jobs_per_gpu <= device_bytes) return;
  const double fitting = std::floor(device_bytes / bytes);
  throw ConfigError(
      ErrorKind::kConfig,
      fmt::format(
          "{} needs {:.3g} GiB, and machine.jobs_per_gpu = {} of it do not fit the {:.4g} GiB of a device: {}use "
          "smaller micro-batches (train.micro_batch_tokens), or leave the size out",
          most.name, bytes / kGibibyte, plan.jobs_per_gpu, device_bytes / kGibibyte,
          fitting >= 1 ? fmt::format("set machine.jobs_per_gpu to {:.0f}, ", fitting) : ""));
}

/// Columns of plan.csv and keys of a run in plan.json: name, and the value as JSON.
Json fields_of(const PlannedRun& run) {
  return {{"run_id", run.name},
          {"kind", run.is_cell ? "cell" : "trunk"},
          {"size", run.size},
          {"seed", run.seed},
          {"starts_from", run.parent},
          {"params", run.parameters.all},
          {"params_non_embedding", run.parameters.non_embedding},
          {"params_blocks", run.parameters.blocks},
          {"tokens", run.tokens},
          {"flops", run.flops},
          {"flops_6nd", run.flops_6nd},
          {"steps", run.steps},
          {"first_step", run.first_step},
          {"batch", run.batch_tokens},
          {"micro_batch", run.micro_batch_tokens},
          {"warmup_steps", run.warmup_steps},
          {"lr", run.lr},
          {"beta2", run.beta2},
          {"weight_decay", run.weight_decay},
          {"schedule", run.schedule},
          {"layers", run.layers},
          {"hidden_size", run.hidden_size},
          {"heads", run.heads},
          {"ffn_size", run.ffn_size},
          {"layout", run.layout},
          {"memory_bytes", run.memory_bytes},
          {"seconds", run.seconds},
          {"gpu_hours", run.gpu_hours},
          {"epochs", run.epochs ? Json(*run.epochs) : Json()}};
}

PlannedRun run_from_json(const JsonReader& json) {
  const auto whole = [&](const char* key) { return json.at(key).whole_number(0, kMost); };
  PlannedRun run;
  run.name = json.at("run_id").text();
  run.is_cell = json.at("kind").text() == "cell";
  run.size = json.at("size").text();
  run.seed = static_cast<uint64_t>(whole("seed"));
  run.parent = json.at("starts_from").text();
  run.parameters = {whole("params"), whole("params_non_embedding"), whole("params_blocks")};
  run.tokens = whole("tokens");
  run.flops = json.at("flops").number();
  run.flops_6nd = json.at("flops_6nd").number();
  run.steps = whole("steps");
  run.first_step = whole("first_step");
  run.batch_tokens = whole("batch");
  run.micro_batch_tokens = whole("micro_batch");
  run.warmup_steps = whole("warmup_steps");
  run.lr = json.at("lr").number();
  run.beta2 = json.at("beta2").number();
  run.weight_decay = json.at("weight_decay").number();
  run.schedule = json.at("schedule").text();
  run.layers = whole("layers");
  run.hidden_size = whole("hidden_size");
  run.heads = whole("heads");
  run.ffn_size = whole("ffn_size");
  run.layout = json.at("layout").text();
  run.memory_bytes = whole("memory_bytes");
  run.seconds = json.at("seconds").number();
  run.gpu_hours = json.at("gpu_hours").number();
  if (!json.at("epochs").json().is_null()) run.epochs = json.at("epochs").number();
  return run;
}

std::string csv_value(const Json& value) {
  return value.is_null() ? "" : value.is_string() ? value.get<std::string>() : value.dump();
}

}  // namespace

double Plan::gpu_hours() const {
  double sum = 0;
  for (const PlannedRun& run : runs) sum += run.gpu_hours;
  return sum;
}

int64_t Plan::cells() const { return std::ranges::count_if(runs, &PlannedRun::is_cell); }

size_t Plan::index_of(const std::string& name) const {
  const auto found = std::ranges::find(runs, name, &PlannedRun::name);
  RETAIN_CHECK(found != runs.end(), "no run ", name, " in the plan of ", dir);
  return static_cast<size_t>(found - runs.begin());
}

double Plan::longest_seconds() const {
  std::map<std::string, double> until_end;
  double longest = 0;
  for (const PlannedRun& run : runs) {
    const double seconds = run.seconds + (run.parent.empty() ? 0 : until_end.at(run.parent));
    until_end[run.name] = seconds;
    longest = std::max(longest, seconds);
  }
  return longest;
}

Plan make_plan(const Study& study, const std::vector<Run>& runs, const std::vector<SetSize>& sets) {
  Plan plan{.dir = study.dir,
            .on_gpu = study.on_gpu(),
            .gpus = study.machine.gpus,
            .jobs_per_gpu = study.machine.jobs_per_gpu,
            .ranks = study.machine.ranks};
  for (const auto& [name, path] : study.base.data.valid) plan.eval_sets.push_back(name);
  for (const Run& run : runs) plan.runs.push_back(planned(run, study, sets));
  const double default_bytes = study.on_gpu() ? static_cast<double>(Target{}.memory_bytes) : 0;
  refuse_over_memory(plan, study.machine.memory_bytes > 0 ? study.machine.memory_bytes : default_bytes);
  refuse_over_epochs(plan, study.limits.max_epochs);
  refuse_over_hours(plan, study.limits.max_gpu_hours);
  return plan;
}

std::string to_json(const Plan& plan) {
  Json json = {{"schema", 1},
               {"device", plan.on_gpu ? "gpu" : "cpu"},
               {"gpus", plan.gpus},
               {"jobs_per_gpu", plan.jobs_per_gpu},
               {"ranks", plan.ranks},
               {"eval_sets", plan.eval_sets},
               {"cells", plan.cells()},
               {"gpu_hours", plan.gpu_hours()},
               {"longest_seconds", plan.longest_seconds()},
               {"runs", Json::array()}};
  for (const PlannedRun& run : plan.runs) json["runs"].push_back(fields_of(run));
  return json.dump(1) + "\n";
}

Plan plan_from_json(const std::string& text, const std::string& dir) {
  const nlohmann::json json = parse_strict_json(text, dir + "/plan.json: ");
  const JsonReader reader(json, dir + "/plan.json: ");
  Plan plan{.dir = dir, .on_gpu = reader.at("device").text() == "gpu"};
  const auto count = [&](const char* key) { return static_cast<int>(reader.at(key).whole_number(1, 1'000'000)); };
  plan.gpus = count("gpus");
  plan.jobs_per_gpu = count("jobs_per_gpu");
  plan.ranks = count("ranks");
  for (const JsonReader& name : reader.at("eval_sets").elements()) plan.eval_sets.push_back(name.text());
  for (const JsonReader& run : reader.at("runs").elements()) plan.runs.push_back(run_from_json(run));
  for (const PlannedRun& run : plan.runs)
    if (!run.parent.empty()) plan.index_of(run.parent);
  return plan;
}

std::string to_csv(const Plan& plan) {
  std::string text;
  for (const PlannedRun& run : plan.runs) {
    const Json fields = fields_of(run);
    std::vector<std::string> header, values;
    for (const auto& [key, value] : fields.items()) {
      header.push_back(key);
      values.push_back(csv_value(value));
    }
    text += (text.empty() ? csv_line(header) : "") + csv_line(values);
  }
  return text;
}

std::string to_table(const Plan& plan) {
  size_t width = 8;
  for (const PlannedRun& run : plan.runs) width = std::max(width, run.name.size());
  std::string text =
      fmt::format("{:<{}} {:>7} {:>7} {:>7} {:>7} {:>8} {:>8} {:>14} {:>7} {:>7} {:>8} {:>6} {:>7} {:>8} {}\n", "run",
                  width, "N", "no emb.", "blocks", "D", "FLOPs", "6ND", "shape", "steps", "batch", "lr", "epochs",
                  "MiB", "hours", "starts from");
  for (const PlannedRun& run : plan.runs) {
    const auto n = [](int64_t number) { return short_number(static_cast<double>(number)); };
    text += fmt::format(
        "{:<{}} {:>7} {:>7} {:>7} {:>7} {:>8.2e} {:>8.2e} {:>14} {:>7} {:>7} {:>8.2e} {:>6} {:>7.0f} {:>8.4f} {}\n",
        run.name, width, n(run.parameters.all), n(run.parameters.non_embedding), n(run.parameters.blocks),
        n(run.tokens), run.flops, run.flops_6nd, fmt::format("{}x{}/{}", run.layers, run.hidden_size, run.heads),
        run.steps, n(run.batch_tokens), run.lr, run.epochs ? fmt::format("{:.2g}", *run.epochs) : "?",
        static_cast<double>(run.memory_bytes) / (1 << 20), run.gpu_hours, run.parent);
  }
  const double slots = std::max(1.0, static_cast<double>(plan.gpus * plan.jobs_per_gpu) / plan.ranks);
  double seconds = 0;
  for (const PlannedRun& run : plan.runs) seconds += run.seconds;
  return text + fmt::format(
                    "{} cells in {} runs of {} ranks ({}): {:.3g} {}-hours by the plan; with {:g} at a time about "
                    "{:.3g} hours, the longest chain {:.3g} minutes\n",
                    plan.cells(), plan.runs.size(), plan.ranks, plan.runs.empty() ? "" : plan.runs[0].layout,
                    plan.gpu_hours(), plan.on_gpu ? "GPU" : "CPU", slots,
                    std::max(seconds / slots, plan.longest_seconds()) / kSecondsPerHour, plan.longest_seconds() / 60);
}

}  // namespace retain::study
