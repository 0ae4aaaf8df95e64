// retain bench step: whole optimizer steps on random tokens, without checkpoints, metrics or validation.
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <fstream>
#include <optional>
#include <sstream>

#include "kernels/core/random.h"
#include "launch/bench/report.h"
#include "launch/failure.h"
#include "launch/preflight.h"
#include "launch/session.h"
#include "launch/verbs/verbs.h"
#include "trainer/data/token_writer.h"
#include "trainer/file.h"
#include "trainer/plan/gpu.h"
#include "trainer/tp_chunks.h"
#include "trainer/trainer.h"

namespace retain {

namespace {

using bench::Report;

constexpr int64_t kMostTokens = int64_t{4} << 20;  // of the random text; longer runs read it again

// From the kernel's record of this process: field 22 of its stat line is when it started, in ticks since boot.
double seconds_since_process_start() {
  std::ifstream file("/proc/self/stat");
  std::string line;
  std::getline(file, line);
  std::istringstream fields(line.substr(std::min(line.size(), line.rfind(')') + 1)));  // the name may hold blanks
  std::string word;
  for (int field = 3; field <= 22; ++field) fields >> word;
  timespec now{};
  RETAIN_CHECK(fields && clock_gettime(CLOCK_BOOTTIME, &now) == 0, "/proc/self/stat: ", line);
  const double begin = std::strtod(word.c_str(), nullptr) / static_cast<double>(sysconf(_SC_CLK_TCK));
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec) - begin;
}

// A set of random tokens in a folder of this rank's own, gone with this object; one document.
class RandomText {
 public:
  RandomText(const Config& config, int64_t tokens) {
    const auto vocab = static_cast<uint64_t>(config.model.vocab_size);
    TokenWriter writer(path(), config.model.vocab_size);
    std::vector<int32_t> block;
    for (int64_t i = 0; i < tokens; ++i) {
      block.push_back(static_cast<int32_t>(philox_bits(1, static_cast<uint64_t>(i)) % vocab));
      if (block.size() < size_t{1} << 16 && i + 1 < tokens) continue;
      writer.append(block);
      block.clear();
    }
    writer.finish();
  }

  std::string path() const { return (directory_.path() / "text").string(); }

 private:
  TemporaryDirectory directory_;
};

// What steps took that follow on each other as they do in training.
struct StepTimes {
  double first_step_seconds = 0;        // from the start of the process
  std::vector<double> step_ms;          // on the device, from the beginning of a step to that of the next
  std::vector<double> between_us = {};  // there, from the end of a step's work to the beginning of the next one's
  std::optional<EnergyMeter::Interval> energy = {};  // of this rank's GPU in these steps, if the driver tells
};

/// energy: nullptr where nothing tells it.
StepTimes time_steps(Trainer& trainer, int64_t warmup, int64_t steps, EnergyMeter* energy) {
  Backend& backend = trainer.backend();
  const std::array whole = {backend.make_timer(), backend.make_timer()};
  const std::array between = {backend.make_timer(), backend.make_timer()};
  trainer.step(0, {}, [] {});
  if (energy != nullptr) energy->take();
  StepTimes times{.first_step_seconds = seconds_since_process_start(), .step_ms = {}};
  for (int64_t i = 1; i <= warmup + steps; ++i) {
    const bool more = i < warmup + steps;
    const bool follows = i > 1;
    const int64_t before = i - 1;
    if (more) trainer.prepare(advance({}, trainer.config(), i), {});
    if (follows) whole[before % 2]->stop();
    if (follows) between[before % 2]->stop();
    if (more) {
      whole[i % 2]->start();
      trainer.queue([] {});
      between[i % 2]->start();
    }
    if (follows) trainer.finish();
    // From the end of the warm-up to that of the last step.
    if (energy != nullptr && (before == warmup - 1 || !more)) times.energy = energy->take();
    if (before < warmup) continue;
    times.step_ms.push_back(whole[before % 2]->elapsed_ms());
    if (more) times.between_us.push_back(1e3 * between[before % 2]->elapsed_ms());
  }
  return times;
}

/// Of all ranks' GPUs; nothing where one of them does not tell.
std::optional<EnergyMeter::Interval> energy_of_all(Communicator& host, const StepTimes& times) {
  const EnergyMeter::Interval mine = times.energy.value_or(EnergyMeter::Interval{});
  std::array<double, 4> sums = {times.energy ? 1.0 : 0.0, mine.joules, mine.watts(), mine.clock_mhz.value_or(0)};
  host.all_reduce(TensorView(sums.data(), DType::kFloat64, {4}), ReduceOp::kSum).wait();
  const double ranks = host.size();
  if (sums[0] < ranks || sums[2] <= 0) return std::nullopt;
  return EnergyMeter::Interval{.seconds = sums[1] / sums[2], .joules = sums[1], .clock_mhz = sums[3] / ranks};
}

int measure(Trainer& trainer, const BenchStepOptions& options, const Target& target, EnergyMeter* meter) {
  const Config& config = trainer.config();
  const int ranks = trainer.mesh().shape().ranks();
  const Backend& backend = trainer.backend();
  if (measures_tp_chunks(trainer)) measure_tp_chunks(trainer);
  const StepTimes times = time_steps(trainer, options.warmup, options.steps, meter);
  const std::vector<double>& samples = times.step_ms;
  const bool follow = !times.between_us.empty();
  std::array<double, 4> slowest = {bench::median(samples), times.first_step_seconds,
                                   follow ? bench::median(times.between_us) : 0,
                                   follow ? *std::ranges::max_element(times.between_us) : 0};
  trainer.mesh().host().all_reduce(TensorView(slowest.data(), DType::kFloat64, {4}), ReduceOp::kMax).wait();
  const std::optional<EnergyMeter::Interval> energy = energy_of_all(trainer.mesh().host(), times);
  if (trainer.mesh().world_rank() != 0) return 0;

  const RunPlan plan = make_plan(config, ranks, target);
  const double rate = static_cast<double>(config.train.batch_tokens) / (slowest[0] * 1e-3);
  Report report("step", {{"mesh"},
                         {"seq_len"},
                         {"tokens_a_step"},
                         {"step_ms", 3},
                         {"fastest_ms", 3},
                         {"slowest_ms", 3},
                         {"between_steps_us", 1},
                         {"longest_between_us", 1},
                         {"tokens_per_s", 1},
                         {"mfu", 4},
                         {"memory_bytes"},
                         {"library_bytes"},
                         {"first_step_s", 2},
                         {"tp_chunks"},
                         {"watts", 1},
                         {"clock_mhz", 0},
                         {"mj_per_token", 3}});
  bench::describe(report, backend, target);
  report.fact("parameters", plan.parameters.all);
  report.fact("flops_per_token", plan.flops_per_token);
  report.fact("micro_batches", plan.dealing.rounds());
  report.fact("steps", options.steps);
  report.fact("warmup", options.warmup);
  report.fact(
      "formula",
      "mfu = tokens_per_s x flops_per_token / (ranks x peak); flops_per_token = 6 x matmul parameters + 12 x layers x "
      "hidden x value head size; step_ms: median, from the beginning of a step on the device to that of the next; "
      "between_steps_us: median of what lies between the last kernel of a step and the first of the next; memory: of "
      "one rank, as allocated; library: what is taken of its GPU besides, by CUDA, cuBLAS and NCCL if by no other "
      "process; first_step_s: from process start to the end of step 1; watts: of all GPUs, the mean over the steps "
      "that "
      "are timed; mj_per_token: millijoules of all GPUs; clock_mhz: at the end, the mean of the GPUs");
  const auto [fastest, slow] = std::minmax_element(samples.begin(), samples.end());
  Report::Value library_bytes;
  if (const auto gpu = backend.gpu_memory())
    library_bytes = gpu->total_bytes - gpu->free_bytes - backend.allocated_bytes();
  report.row(
      {plan.mesh.describe(), config.data.seq_len, config.train.batch_tokens, slowest[0], *fastest, *slow,
       follow ? Report::Value(slowest[2]) : Report::Value(), follow ? Report::Value(slowest[3]) : Report::Value(), rate,
       bench::ratio(rate * plan.flops_per_token, peak_flops(target, backend.device_description()) * ranks),
       backend.allocated_bytes(), library_bytes, slowest[1], trainer.model().tp_chunks(),
       energy ? Report::Value(energy->watts()) : Report::Value(),
       energy ? Report::Value(energy->clock_mhz.value_or(0)) : Report::Value(),
       energy ? Report::Value(1e3 * energy->joules / static_cast<double>(options.steps * config.train.batch_tokens))
              : Report::Value()});
  report.print(options.json);
  return 0;
}

}  // namespace

int bench_step(const BenchStepOptions& options, const MpiEnvironment* mpi) {
  std::unique_ptr<Communicator> host = make_host_communicator(mpi);
  const int ranks = host->size();
  Config config = read_config_once(*host, options.config, options.sets).config;
  const LocalPlace place = local_place(mpi);
  Target target = agree_on_target(*host, config, cuda_device_count() > 0, threads_per_rank(place));
  agree_on_memory(*host, config, target, place);
  check_memory(*host, config, target, place);

  const int64_t steps = int64_t{options.warmup} + options.steps;
  config.train.tokens = std::max(config.train.tokens, steps * config.train.batch_tokens);
  const RandomText text(config,
                        std::max(config.data.seq_len, std::min(kMostTokens, steps * config.train.batch_tokens)) + 1);
  config.data.train = {{.path = text.path(), .weight = 1}};
  config.data.end_of_document = kEndOfDocumentNone;
  config.data.valid.clear();

  Activity activity;
  Session session(target, config.mesh(ranks), mpi, std::move(host), activity);
  Trainer trainer(session.backend(), session.mesh(), config, target);
  return run_to_exit_code(mpi, [&] { return measure(trainer, options, target, session.energy()); },
                          {.let_go = [&] { session.mesh().abort(); }});
}

}  // namespace retain
