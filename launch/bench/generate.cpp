// retain bench generate: tokens decoded side by side with random weights, beside what reading these and the states
// takes.
#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "kernels/core/random.h"
#include "launch/bench/report.h"
#include "launch/session.h"
#include "launch/verbs/verbs.h"
#include "trainer/inference/decoder.h"
#include "trainer/model/parameter_layout.h"
#include "trainer/plan/gpu.h"

namespace retain {

namespace {

using bench::Report;

constexpr int64_t kWarmUps = 8;          // steps: as ever, recorded, and some for the clocks
constexpr int64_t kPromptTokens = 8192;  // of which reading is measured

const char* const kFormula =
    "bound: bytes a token / (0.885 x the memory's data-sheet rate), bytes a token = weights of all products + each "
    "sequence's state read and written; share_of_bound = bound / ms_per_token; ms_per_token: median, from one step on "
    "the device to the next, tokens drawn on the device; latency_ms: the host's, from a token to the next one; context "
    "is the position at which the sequences go on; joules a token: of the GPU, over all sequences";

struct StepTimes {
  double step_ms = 0, wall_ms = 0;
  std::optional<EnergyMeter::Interval> energy = {};
};

std::vector<Decoder::Draw> draws_of(int64_t batch) {
  std::vector<Decoder::Draw> draws;
  for (int64_t slot = 0; slot < batch; ++slot) {
    draws.push_back({.slot = slot,
                     .sampling = {.temperature = 1, .top_p = 0.95F, .key = philox_bits(1, static_cast<uint64_t>(slot))},
                     .token = 0});
  }
  return draws;
}

StepTimes time_steps(Backend& backend, Decoder& decoder, int64_t batch, int64_t context, int64_t tokens,
                     EnergyMeter* meter) {
  for (int64_t slot = 0; slot < batch; ++slot) decoder.begin(slot, context);
  std::vector<Decoder::Draw> draws = draws_of(batch);
  decoder.queue_step(draws);
  for (Decoder::Draw& draw : draws) draw.token = -1;
  const auto step = [&] {
    decoder.queue_step(draws);
    static_cast<void>(decoder.next_tokens());
  };
  for (int64_t i = 0; i < kWarmUps; ++i) step();

  std::vector<std::unique_ptr<DeviceTimer>> timers;
  for (int64_t i = 0; i < tokens; ++i) timers.push_back(backend.make_timer());
  backend.synchronize();
  if (meter != nullptr) meter->take();
  const auto begin = std::chrono::steady_clock::now();
  for (const auto& timer : timers) {
    timer->start();
    step();
    timer->stop();
  }
  backend.synchronize();
  const std::chrono::duration<double, std::milli> wall = std::chrono::steady_clock::now() - begin;
  StepTimes times{.wall_ms = wall.count() / static_cast<double>(tokens)};
  if (meter != nullptr) times.energy = meter->take();
  static_cast<void>(decoder.next_tokens());
  std::vector<double> samples;
  for (const auto& timer : timers) samples.push_back(timer->elapsed_ms());
  times.step_ms = bench::median(std::move(samples));
  return times;
}

/// Tokens a second of a prompt; 0 where there is no GPU, which would take long.
double prompt_rate(Backend& backend, Decoder& decoder, int64_t vocab_size) {
  if (!backend.runs_ahead()) return 0;
  std::vector<int32_t> prompt;
  for (int64_t i = 0; i < kPromptTokens; ++i)
    prompt.push_back(
        static_cast<int32_t>(philox_bits(2, static_cast<uint64_t>(i)) % static_cast<uint64_t>(vocab_size)));
  double seconds = 0;
  for (int repeat = 0; repeat < 2; ++repeat) {  // the first learns
    decoder.begin(0);
    const auto begin = std::chrono::steady_clock::now();
    decoder.feed(0, prompt);
    seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  }
  return static_cast<double>(kPromptTokens) / seconds;
}

int measure(Session& session, const Config& config, const Target& target, const BenchGenerateOptions& options) {
  Backend& backend = session.backend();
  const ParameterLayout layout(config.model, 0, 1, 1);
  ParameterStore parameters(backend, layout, target.compute, ReplicaShare(), Residency::kInference);
  parameters.initialize(1);
  Decoder decoder(backend, parameters, config.model, target.compute, std::ranges::max(options.batches));

  const Gpu* const gpu = find_gpu(backend.device_description());
  const double rate = gpu != nullptr ? kMemoryShare * gpu->memory_bytes_per_second : 0;
  const int64_t weight_bytes = count_parameters(config.model).matmul * dtype_bytes(target.compute);
  Report report("generate", {{"batch"},
                             {"context"},
                             {"ms_per_token", 4},
                             {"latency_ms", 4},
                             {"tokens_per_s", 1},
                             {"bound_ms", 4},
                             {"share_of_bound", 3},
                             {"memory_bytes"},
                             {"watts", 1},
                             {"joules_per_token", 4}});
  bench::describe(report, backend, target);
  report.fact("parameters", count_parameters(config.model).all);
  report.fact("weight_bytes", weight_bytes);
  report.fact("state_bytes", decoder.state_bytes());
  const double prompt = prompt_rate(backend, decoder, config.model.vocab_size);
  report.fact("prompt_tokens_per_s", prompt > 0 ? Report::Value(prompt) : Report::Value());
  report.fact("tokens", options.tokens);
  report.fact("formula", kFormula);
  for (const int64_t batch : options.batches) {
    for (const int64_t context : options.contexts) {
      const StepTimes times = time_steps(backend, decoder, batch, context, options.tokens, session.energy());
      const int64_t bytes = weight_bytes + 2 * batch * decoder.state_bytes();
      const double bound_ms = rate > 0 ? 1e3 * static_cast<double>(bytes) / rate : 0;
      const auto& energy = times.energy;
      const int64_t unused = (decoder.slots() - batch) * decoder.state_bytes();  // of the states taken for more
      report.row(
          {batch, context, times.step_ms, times.wall_ms, 1e3 * static_cast<double>(batch) / times.step_ms,
           bound_ms > 0 ? Report::Value(bound_ms) : Report::Value(),
           bound_ms > 0 ? Report::Value(bound_ms / times.step_ms) : Report::Value(), backend.allocated_bytes() - unused,
           energy ? Report::Value(energy->watts()) : Report::Value(),
           energy ? Report::Value(energy->joules / static_cast<double>(batch * options.tokens)) : Report::Value()});
    }
  }
  report.print(options.json);
  return 0;
}

}  // namespace

int bench_generate(const BenchGenerateOptions& options) {
  std::unique_ptr<Communicator> host = make_host_communicator(nullptr);
  const Config config = read_config_once(*host, options.config, options.sets).config;
  const Target target = agree_on_target(*host, config, cuda_device_count() > 0, threads_per_rank(local_place(nullptr)));
  Activity activity;
  Session session(target, config.mesh(1), nullptr, std::move(host), activity);
  return measure(session, config, target, options);
}

}  // namespace retain
