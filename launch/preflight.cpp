#include "launch/preflight.h"

#include <fmt/core.h>

#include <filesystem>
#include <system_error>
#include <utility>

#include "launch/host_memory.h"
#include "parallel/agreement.h"
#include "trainer/data/loader.h"
#include "trainer/interop/model_import.h"
#include "trainer/plan/memory_advice.h"
#include "trainer/run/run_directory.h"

namespace retain {

namespace {

// A machine's memory, where ranks compute on GPUs.
constexpr const char* kMachineHelp =
    "more machines with fewer ranks each, a higher memory limit of the job, or a smaller model would help";

std::vector<SetNote> look_at_inputs(const Config& config, const Target& target, int ranks) {
  const TrainLoader loader(config.data, config.train, config.model.vocab_size, config.run.seed, config.mesh(ranks), {});
  std::vector<SetNote> notes = loader.look_at();
  for (const auto& [name, path] : config.data.valid) {
    Documents documents(TokenSet(path, config.model.vocab_size), config.data, loader.end_token(), loader.tokenizer());
    const EvalWindows windows(std::move(documents), config.data, config.model.vocab_size, 1, {}, {}, config.eval.tokens,
                              0);
    const std::vector<SetNote> more = windows.look_at();
    notes.insert(notes.end(), more.begin(), more.end());
  }
  if (target.device == DeviceKind::kCuda && cuda_device_count() == 0) {
    throw Error(ErrorKind::kDevice,
                "device is cuda, but this machine shows no GPU, or this build has no CUDA; "
                "device: cpu trains without");
  }
  return merged(notes);
}

/// Where the run has a copy of a tokenizer that is gone, "; …".
std::string kept_copy(const Config& config) {
  const std::string copy = RunDirectory(config.run.dir).file("tokenizer");
  std::error_code unreadable;
  const bool gone = config.data.tokenizer != "bytes" && !std::filesystem::exists(config.data.tokenizer, unreadable);
  if (!gone || !std::filesystem::exists(copy, unreadable)) return "";
  return concat("; this run has a copy of its own: --set data.tokenizer=", copy);
}

void throw_if_failed(const Outcome& outcome) {
  if (!outcome.ok) throw ConfigError(outcome.kind, outcome.message);
}

// The first rank of each machine looks at it for all that are there; its own limits each rank has for itself.
void check_machines(Communicator& host, const Config& config, const Target& target, const LocalPlace& place) {
  const auto look = [&] {
    const std::optional<int64_t> available = place.rank == 0 ? available_memory_bytes() : std::nullopt;
    if (available) check_host_memory(config, host.size(), target, place.ranks, *available);
    if (target.device == DeviceKind::kCpu)
      check_address_limit(make_plan(config, host.size(), target).needed_bytes(), target.threads);
  };
  throw_if_failed(agree(host, attempt(look)));
}

}  // namespace

void check_host_memory(const Config& config, int ranks, const Target& target, int local_ranks,
                       int64_t available_bytes) {
  const RunPlan plan = make_plan(config, ranks, target);
  const bool gpu = target.device == DeviceKind::kCuda;
  const int64_t wanted = (gpu ? plan.host_bytes() : plan.needed_bytes()) * local_ranks;
  if (wanted <= available_bytes) return;
  throw ConfigError(
      ErrorKind::kOutOfMemory,
      fmt::format("{} rank(s) of this machine need {} GiB{}, {} GiB are available; {}", local_ranks, gibibytes(wanted),
                  gpu ? " of its memory to save checkpoints from" : "", gibibytes(available_bytes),
                  gpu ? kMachineHelp : memory_advice(config, ranks, target, available_bytes / local_ranks)));
}

std::string check_gpu_memory(const Config& config, int ranks, const Target& target, const GpuMemory& memory) {
  const RunPlan plan = make_plan(config, ranks, target);
  const int64_t obtainable = memory.free_bytes + kCudaContextBytes;  // this process has a context there already
  if (plan.needed_bytes() <= obtainable) return "";
  const std::string text = fmt::format(
      "a rank needs {} GiB of its GPU, {} GiB of that for CUDA, cuBLAS and NCCL, but can have {} of {} GiB{}; {}",
      gibibytes(plan.needed_bytes()), gibibytes(plan.libraries_bytes()), gibibytes(obtainable),
      gibibytes(memory.total_bytes),
      plan.needed_bytes() <= memory.total_bytes ? ": another process has memory there" : "",
      memory_advice(config, ranks, target, obtainable));
  if (plan.needed_bytes() - plan.nccl_bytes > obtainable) throw ConfigError(ErrorKind::kOutOfMemory, text);
  return concat("this may not fit, NCCL's part being about ", gibibytes(plan.nccl_bytes), " GiB: ", text);
}

void agree_on_memory(Communicator& host, const Config& config, Target& target, const LocalPlace& place) {
  const bool fills = config.train.recompute == Recompute::kSegment && config.train.segment_tokens == 0;
  if (target.device != DeviceKind::kCuda || !fills) return;
  double bytes = 0;
  const auto look = [&] {
    bytes = static_cast<double>(cuda_memory(device_of(place.rank)).free_bytes + kCudaContextBytes);
  };
  throw_if_failed(agree(host, attempt(look)));
  host.all_reduce(TensorView(&bytes, DType::kFloat64, {1}), ReduceOp::kMin).wait();
  target.memory_bytes = static_cast<int64_t>(bytes);
}

void check_memory(Communicator& host, const Config& config, const Target& target, const LocalPlace& place) {
  if (target.device != DeviceKind::kCuda) return check_machines(host, config, target, place);
  std::string warning;
  const auto look = [&] {
    warning = check_gpu_memory(config, host.size(), target, cuda_memory(device_of(place.rank)));
  };
  throw_if_failed(agree(host, attempt(look)));
  const Outcome warned = agree(host, {.ok = warning.empty(), .message = warning});  // of the first that has one
  if (host.rank() == 0 && !warned.ok) fmt::print(stderr, "retain: {}\n", warned.message);
}

void check_beginning(Communicator& host, const TrainOptions& options, const RunConfig& run) {
  const auto look = [&] {
    if (options.init_from.empty()) return;
    if (is_model_folder(options.init_from)) {
      throw Error(ErrorKind::kMissingInput,
                  concat("--init-from: ", options.init_from,
                         " holds weights for another library, no checkpoint: `retain checkpoint import ",
                         options.init_from, " --out RUN` makes a run of them, with which others begin"));
    }
    if (options.resume == "never") return;
    if (!RunDirectory(run.dir).holds(options.init_from)) return;
    throw Error(ErrorKind::kUsage,
                concat("--init-from: ", options.init_from, " is of the run in run.dir itself, which the same command ",
                       "continues: choose another run.dir for a new run, or --resume never to begin this one anew"));
  };
  throw_if_failed(broadcast_outcome(host, host.rank() == 0 ? attempt(look) : Outcome{}, 0));
}

std::vector<SetNote> check_inputs(Communicator& host, const Config& config, const Target& target) {
  std::vector<SetNote> notes;
  const auto look = [&] { notes = look_at_inputs(config, target, host.size()); };
  Outcome looked = host.rank() == 0 ? attempt(look) : Outcome{};
  if (!looked.ok && looked.kind == ErrorKind::kMissingInput) looked.message += kept_copy(config);
  throw_if_failed(broadcast_outcome(host, looked, 0));
  return notes;
}

void check_all_memory(Communicator& host, const Config& config, const Target& target, const LocalPlace& place) {
  check_memory(host, config, target, place);
  if (target.device == DeviceKind::kCuda) check_machines(host, config, target, place);  // which saves from there
}

}  // namespace retain
