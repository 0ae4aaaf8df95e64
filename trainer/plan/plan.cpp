#include "trainer/plan/plan.h"

#include <algorithm>
#include <numeric>

#include "kernels/workspace.h"
#include "trainer/checkpoint/trainer_state.h"
#include "trainer/trainer.h"

namespace retain {

namespace {

constexpr int64_t kMebibyte = int64_t{1} << 20;

// What a process takes of a GPU beside the memory that this program allocates there, rounded up to 50 MiB. On H200s
// with CUDA 13.0 and NCCL 2.28 the 1.4 B model took 527 MiB for the context, 16 more with its kernels, which are loaded
// when they are first launched, and on two GPUs 610 (cp=2) to 672 (dp=2, tp=2) for each of NCCL's groups. To measure
// again: on an idle GPU `retain plan CONFIG --json` says total_bytes and free_bytes, `retain bench step --json`
// library_bytes.
constexpr int64_t kKernelsBytes = 50 * kMebibyte;     // of this program and cuBLAS, and handles
constexpr int64_t kNcclGroupBytes = 700 * kMebibyte;  // NCCL's buffers and channels of one group

// Left over by segments that are to fill a GPU: what the libraries take is known about.
constexpr int64_t kSpareBytes = 1024 * kMebibyte;
// On a CPU, where memory is seldom short and longer products are no faster.
constexpr int64_t kCpuSegmentTokens = 8192;

int64_t quotient_up(int64_t dividend, int64_t divisor) { return (dividend + divisor - 1) / divisor; }

// Groups of more than one rank that a Mesh makes: one for each axis.
int64_t nccl_groups(const MeshShape& mesh) { return (mesh.tp > 1) + (mesh.cp > 1) + (mesh.dp * mesh.cp > 1); }

Dimensions dimensions(const Config& config, const MeshShape& mesh, int tp_rank, const Target& target,
                      int64_t segment_tokens) {
  const BatchShape shape{.sequences = config.train.micro_batch_tokens / config.data.seq_len,
                         .tokens = segment_tokens / mesh.cp,
                         .parts = mesh.cp,
                         .segment_count = quotient_up(config.data.seq_len, segment_tokens)};
  Dimensions dims(config.model, shape, target.compute, tp_rank, mesh.tp, config.train.chunk,
                  target.device == DeviceKind::kCuda ? Device::kCuda : Device::kCpu);
  dims.recompute = config.train.recompute;
  dims.tp_chunks = std::max<int64_t>(1, config.parallel.tp_chunks);
  return dims;
}

int64_t sum(const std::vector<PlanPart>& parts) {
  return std::accumulate(parts.begin(), parts.end(), int64_t{0},
                         [](int64_t bytes, const PlanPart& part) { return bytes + part.bytes; });
}

}  // namespace

const int64_t kCudaContextBytes = 550 * kMebibyte;

const char* precision_name(DType compute) {
  switch (compute) {
    case DType::kBfloat16: return "bf16";
    case DType::kFloat64: return "fp64";
    default: return "fp32";
  }
}

Target resolve_target(const Config& config, bool gpu_available, int threads) {
  Target target;
  target.threads = threads;
  target.device = config.device != DeviceKind::kAuto ? config.device
                  : gpu_available                    ? DeviceKind::kCuda
                                                     : DeviceKind::kCpu;
  const bool cuda = target.device == DeviceKind::kCuda;
  switch (config.precision) {
    case Precision::kAuto: target.compute = cuda ? DType::kBfloat16 : DType::kFloat32; break;
    case Precision::kBf16: target.compute = DType::kBfloat16; break;
    case Precision::kFp32: target.compute = DType::kFloat32; break;
    case Precision::kFp64: target.compute = DType::kFloat64; break;
  }
  if (cuda && target.compute == DType::kFloat64) {
    throw ConfigError(ErrorKind::kConfig, "precision: fp64 exists on the CPU only (set device: cpu)");
  }
  if (!cuda && target.compute == DType::kBfloat16) {
    throw ConfigError(ErrorKind::kConfig, "precision: bf16 exists on GPUs only (set precision: fp32 or auto)");
  }
  return target;
}

int64_t RunPlan::memory_bytes() const { return sum(memory); }
int64_t RunPlan::libraries_bytes() const { return sum(libraries); }

int64_t segment_tokens(const Config& config, const MeshShape& mesh, const Target& target) {
  const int64_t all = config.data.seq_len;
  if (config.train.recompute != Recompute::kSegment) return all;
  if (config.train.segment_tokens > 0) return std::min(all, config.train.segment_tokens);
  const int64_t unit = mesh.cp * dimensions(config, mesh, 0, target, all).chunk,
                most = std::min(kMostSegments, quotient_up(all, unit));
  const auto tokens_of = [&](int64_t segments) { return std::min(all, align_up(quotient_up(all, segments), unit)); };
  if (target.device != DeviceKind::kCuda)
    return tokens_of(std::min(kMostSegments, quotient_up(all, kCpuSegmentTokens)));

  const auto needed_bytes = [&](int64_t segments) {
    Config cut = config;
    cut.train.segment_tokens = tokens_of(segments);
    return make_plan(cut, mesh.ranks(), target).needed_bytes();
  };
  // More segments need less memory, until their states outweigh the activations.
  const int64_t limit = target.memory_bytes - kSpareBytes;
  int64_t segments = 1, needed = needed_bytes(1);
  while (needed > limit && segments < most) {
    const int64_t more = std::min(most, 2 * segments), then = needed_bytes(more);
    if (then >= needed) break;
    segments = more;
    needed = then;
  }
  if (needed > limit) return tokens_of(segments);
  for (int64_t too_few = segments / 2; segments - too_few > 1;) {
    const int64_t between = (too_few + segments) / 2;
    (needed_bytes(between) > limit ? too_few : segments) = between;
  }
  return tokens_of(segments);
}

Dimensions make_dimensions(const Config& config, const MeshShape& mesh, int tp_rank, const Target& target) {
  const Dimensions dims = dimensions(config, mesh, tp_rank, target, segment_tokens(config, mesh, target));
  if (config.train.chunk > 0 && config.train.chunk != dims.chunk) {
    throw ConfigError(ErrorKind::kConfig, concat("train.chunk: is ", config.train.chunk, ", but GPUs take heads of ",
                                                 dims.key_dim, "/", dims.value_dim, " in chunks of ", dims.chunk,
                                                 " (set train.chunk: auto or ", dims.chunk, ")"));
  }
  return dims;
}

namespace {

// Gathers and reductions of the stream's rows over tp in a forward: the two parts of a layer each gather their input
// and reduce their output, the embedding's output is reduced, and the head's input gathered.
int64_t tp_forward_exchanges(const Dimensions& dims) { return 2 * (2 * dims.model.layers + 1); }

// … in a forward and a backward, which gathers the gradients of the outputs and reduces those of the inputs, and in
// what this repeats.
int64_t tp_exchanges(const Dimensions& dims) {
  const bool full = dims.recompute == Recompute::kFull, repeats = full || dims.recompute == Recompute::kSelective;
  const int64_t layers = dims.model.layers;
  return 2 * tp_forward_exchanges(dims) + (repeats ? 2 * layers : 0) + (full ? layers : 0) +
         (dims.model.embedding_norm ? 1 : 0);
}

std::vector<Traffic> traffic_of(const RunPlan& plan, const Config& config, const Dimensions& dims,
                                const ParameterLayout& layout, const ReplicaShare& updated) {
  std::vector<Traffic> traffic;
  const int64_t wide = dtype_bytes(dims.accumulate()), narrow = dtype_bytes(dims.compute);
  const int64_t segments = dims.batch.segment_count;
  if (plan.mesh.tp > 1) {
    const int64_t exchanges = segments * tp_exchanges(dims) + (segments - 1) * tp_forward_exchanges(dims);
    const int64_t rows_of_others = dims.padded_rows() - dims.own_rows();
    traffic.push_back({.name = "tp activations",
                       .axis = MeshAxis::kTp,
                       .bytes_a_pass = checked_product({exchanges, rows_of_others, config.model.hidden_size, narrow})});
  }
  if (plan.mesh.cp > 1) {
    const int64_t state =
        checked_product({dims.batch.sequences, dims.heads, dims.key_dim, dims.value_dim, wide, plan.mesh.cp - 1});
    traffic.push_back({.name = "cp states",
                       .axis = MeshAxis::kCp,
                       .bytes_a_pass = checked_product({segments, 2 * config.model.layers, state})});
  }
  const int replicas = plan.mesh.dp * plan.mesh.cp;
  if (replicas > 1) {
    const int64_t of_others = layout.flat_elements / replicas * (replicas - 1);
    const int64_t element =
        config.parallel.gradient_dtype == GradientType::kBf16 ? dtype_bytes(DType::kBfloat16) : wide;
    Traffic gradients{.name = "gradients"};
    if (gradients_kept(replicas, config.parallel.zero) == GradientsKept::kUpdated) {
      gradients.bytes_a_round = checked_product({segments, of_others, element});
    } else {
      gradients.bytes_a_step = (config.parallel.zero == 0 ? 2 : 1) * of_others * element;
    }
    traffic.push_back(gradients);
    if (updated.size() < layout.flat_elements)
      traffic.push_back({.name = "weights", .bytes_a_step = of_others * narrow});
  }
  return traffic;
}

// Of a dataset of a shard, with its part of the view and of the manifest; and of these files themselves.
constexpr int64_t kDatasetBytes = 1024, kFilesBytes = 32 << 10;

// Master weights and both moments, once however the mesh is cut, and what describes them: a tensor is a dataset on each
// rank of tp, and a bucket that is cut over the replicas breaks three of them on each.
int64_t checkpoint_bytes(const RunPlan& plan, const ParameterLayout& layout, DType accumulate) {
  const int64_t replicas = int64_t{plan.mesh.dp} * plan.mesh.cp, cuts = 3 * std::ssize(layout.buckets) * replicas;
  const int64_t datasets =
      int64_t{kStates} * plan.mesh.tp * (std::ssize(layout.parameters) + (replicas > 1 ? cuts : 0));
  return int64_t{kStates} * plan.parameters.all * dtype_bytes(accumulate) + datasets * kDatasetBytes + kFilesBytes;
}

}  // namespace

RunPlan make_plan(const Config& config, int ranks, const Target& target) {
  RunPlan plan;
  plan.mesh = config.mesh(ranks);
  plan.target = target;
  plan.parameters = count_parameters(config.model);
  plan.flops_per_token = flops_per_token(config.model);
  plan.steps = config.steps();
  plan.dealing = {.micro_batches = config.train.batch_tokens / config.train.micro_batch_tokens,
                  .replicas = plan.mesh.dp};

  const int replicas = plan.mesh.dp * plan.mesh.cp;
  const ParameterLayout layout(config.model, 0, plan.mesh.tp, replicas);
  const Dimensions dims = make_dimensions(config, plan.mesh, 0, target);
  const ReplicaShare updated = updated_share(layout.buckets, 0, replicas, config.parallel.zero);
  const GradientsKept kept = gradients_kept(replicas, config.parallel.zero);
  const ParameterStore::Plan store = ParameterStore::plan(layout, target.compute, updated, Residency::kTraining, kept);
  const WorkspaceShape workspace = dims.workspace(layout.flat_elements);
  const int64_t fingerprints = Trainer::replay_fingerprints(config.numerics, layout);
  plan.shape = dims.batch;
  plan.chunk = dims.chunk;
  plan.memory = {
      {"weights", store.weights_bytes},
      {"gradients", store.gradients_bytes},
      {"master weights", store.master_bytes},
      {"optimizer moments", store.moments_bytes},
      {"activations", RetNet::memory_bytes(dims, Residency::kTraining)},
      {"fingerprints", Trainer::fingerprint_bytes(config.numerics, layout)},
      {"batch", Trainer::step_memory_bytes(dims.batch, plan.dealing.rounds(), fingerprints)},
      {"workspace", target.device == DeviceKind::kCuda ? cuda_workspace_bytes(workspace)
                                                       : cpu_workspace_bytes(workspace, target.threads)},
  };
  const int64_t rounded = GradientExchange::memory_bytes(layout, replicas, config.parallel.gradient_dtype);
  if (rounded > 0) plan.memory.insert(plan.memory.begin() + 4, {"rounded gradients", rounded});
  const int64_t norms = LayerNorms::memory_bytes(config.log, dims);
  if (norms > 0) plan.memory.push_back({"norms of layers", norms});

  plan.save_bytes = HostState::memory_bytes(replica_share(layout.buckets, 0, replicas), dims.accumulate());
  plan.staging_bytes = Trainer::staging_bytes(dims.batch, plan.dealing.rounds(), fingerprints);
  if (target.device == DeviceKind::kCuda) {
    plan.libraries = {{"CUDA context", kCudaContextBytes}, {"kernels and cuBLAS", kKernelsBytes}};
    plan.nccl_bytes = nccl_groups(plan.mesh) * kNcclGroupBytes;
    if (plan.nccl_bytes > 0) plan.libraries.push_back({"NCCL", plan.nccl_bytes});
  }

  plan.checkpoint_bytes = checkpoint_bytes(plan, layout, dims.accumulate());
  plan.traffic = traffic_of(plan, config, dims, layout, updated);
  return plan;
}

}  // namespace retain
