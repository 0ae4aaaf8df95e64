#include "trainer/plan/step_time.h"

#include <algorithm>

#include "trainer/model/parameter_layout.h"
#include "trainer/plan/recompute_levels.h"
#include "trainer/step_recordings.h"

namespace retain {

namespace {

// Shares of the data sheet that steps on an H200 reached, which ran at its power limit all the time;
// tests/bench/README.md has the steps, and a test holds the prediction to them.
constexpr double kProductShare = 0.70;  // 694 of 989 TFLOP/s with a quarter of the time spent copying
constexpr double kLinkShare = 0.6;      // 268 to 275 of 450 GB/s of NCCL, messages of 1 GB
// A kernel's start in a recorded step, and one that the host launches, which does as much besides in a step; and how
// many there are.
constexpr double kStartSeconds = 2.8e-6, kLaunchSeconds = 9e-6, kHostSeconds = 4e-4;
constexpr double kKernelsOfALayer = 45, kKernelsBesides = 30, kKernelsOfAnUpdate = 20;
// Retention in batched products, and token by token, beside kernels of its own.
constexpr double kBatchedSlower = 3.5, kPlainSlower = 20;
// Of what replicas exchange under the backward pass and the next forward: the two slow each other down.
constexpr double kExposed = 0.5, kHidingShare = 0.6;

constexpr double kUpdateBytes = 30;  // of an element: a weight, its gradient, master and moments

struct Rates {
  double flops, memory, link, network;
};

/// Of one token, the whole model's width: `of` its parts in FLOPs and bytes of forward and backward.
struct TokenWork {
  double product_flops, product_bytes, retention_flops, retention_bytes, elementwise_bytes, loss_bytes;

  TokenWork(const ModelConfig& m, int64_t chunk, DType compute) {
    const auto layers = static_cast<double>(m.layers), d = static_cast<double>(m.hidden_size),
               ffn = static_cast<double>(m.ffn_size), vocabulary = static_cast<double>(m.vocab_size);
    const auto keys = static_cast<double>(m.heads * m.key_dim()), values = static_cast<double>(m.heads * m.value_dim());
    const double element = static_cast<double>(dtype_bytes(compute)), wide = 4;
    const double matrices = m.ffn == FfnKind::kGelu ? 2 : 3, state = keys * static_cast<double>(m.value_dim());

    product_flops = 6 * static_cast<double>(count_parameters(m).matmul);
    // Each product reads its input and writes its output, forward and twice in backward.
    product_bytes = 3 * element * layers * (3 * d + 2 * keys + 3 * values + (matrices + 1) * ffn);
    // Three and a half times what forward moves: q, k, v and the output, and a chunk's state out and in again.
    retention_bytes =
        3.5 * layers * (element * (2 * keys + 2 * values) + 2 * wide * state / static_cast<double>(chunk));
    retention_flops = 3 * 4 * layers * state;
    // Both norms with their residuals, rotation of q and k, head norm and gate, the activation.
    elementwise_bytes = layers * element * (16 * d + 8 * keys + 8 * values + 8 * ffn);
    loss_bytes = 3 * vocabulary * element;
  }
};

double retention_factor(const Config& config, const RunPlan& plan, const Gpu& gpu) {
  const Dimensions dims = make_dimensions(config, plan.mesh, 0, plan.target);
  if (dims.fold_chunk == 0) return kPlainSlower;
  const bool hopper = gpu.name.find("H100") != std::string::npos || gpu.name.find("H200") != std::string::npos;
  const bool own_kernels =
      dims.key_dim % 128 == 0 && dims.value_dim % 256 == 0 && plan.target.compute == DType::kBfloat16;
  return hopper && own_kernels ? 1 : kBatchedSlower;
}

double seconds_of(const LinkBytes& sent, const Rates& rates) {
  return static_cast<double>(sent.inside) / rates.link + static_cast<double>(sent.between) / rates.network;
}

}  // namespace

double StepTime::seconds() const {
  double sum = 0;
  for (const StepPart& part : parts) sum += part.seconds;
  return sum;
}

StepTime predict_step(const Config& config, const RunPlan& plan, const RankExchanges& exchanges, const Gpu& gpu,
                      double network_bytes_per_second) {
  RETAIN_CHECK(gpu.is_predicted() && plan.target.device == DeviceKind::kCuda, "no prediction for ", gpu.name);
  const Rates rates = {kProductShare * gpu.flops(plan.target.compute), kMemoryShare * gpu.memory_bytes_per_second,
                       kLinkShare * gpu.link_bytes_per_second, kLinkShare * network_bytes_per_second};
  const TokenWork token(config.model, plan.chunk, plan.target.compute);
  const auto passes = static_cast<double>(plan.dealing.rounds());
  // Every rank of tp computes its part of all rows of a replica, every rank of cp all of its part of the rows.
  const double tokens = passes * static_cast<double>(config.train.micro_batch_tokens) /
                        (plan.mesh.cp * static_cast<double>(plan.mesh.tp));
  const double again = relative_step_time(config.model, config.train.recompute, plan.shape.segment_count, plan.chunk,
                                          plan.target.compute);
  const double retention = token.retention_bytes / rates.memory + token.retention_flops / rates.flops;

  StepTime time;
  const auto add = [&time](std::string name, double seconds) { time.parts.push_back({std::move(name), seconds}); };
  add("matrix products", tokens * std::max(token.product_flops / rates.flops, token.product_bytes / rates.memory));
  add("retention", tokens * retention * retention_factor(config, plan, gpu));
  add("element-wise", tokens * token.elementwise_bytes / rates.memory);
  add("loss", tokens * token.loss_bytes / rates.memory);
  const double once = time.seconds();
  if (again > 1) add("recomputing", once * (again - 1));
  const double computing = time.seconds();

  const int replicas = plan.mesh.dp * plan.mesh.cp, updaters = config.parallel.zero > 0 ? replicas : 1;
  add("update", kUpdateBytes * static_cast<double>(plan.parameters.all) / (plan.mesh.tp * updaters) / rates.memory);
  const double kernels = passes * static_cast<double>(plan.shape.segment_count) *
                             (kKernelsOfALayer * static_cast<double>(config.model.layers) + kKernelsBesides) +
                         kKernelsOfAnUpdate;
  const bool recorded = records_steps(config, plan.mesh.ranks());
  const double launches = recorded ? 0 : kernels * kLaunchSeconds + kHostSeconds;
  add(kStartsOfKernels, std::max(kernels * kStartSeconds, launches - time.seconds()));

  double under_computing = 0;
  for (size_t i = 0; i < exchanges.parts.size(); ++i) {
    const double seconds = seconds_of(exchanges.parts[i].sent, rates);
    if (plan.traffic[i].axis == MeshAxis::kReplicas) {
      under_computing += seconds;
    } else {
      add(exchanges.parts[i].name, seconds);
    }
  }
  // With the last micro-batch alone, unless each is reduced at once.
  const double hiding = kHidingShare * computing / passes;
  if (under_computing > 0) add("gradients and weights", std::max(kExposed * under_computing, under_computing - hiding));
  return time;
}

RunCost cost_of(const Config& config, const RunPlan& plan, const Gpu& gpu, double step_seconds) {
  RunCost cost;
  cost.step_seconds = step_seconds;
  const double ranks = plan.mesh.ranks();
  cost.tokens_per_second = static_cast<double>(config.train.batch_tokens) / step_seconds;
  cost.mfu = cost.tokens_per_second * plan.flops_per_token / (ranks * gpu.flops(plan.target.compute));
  cost.hours = static_cast<double>(plan.steps) * step_seconds / 3600;
  cost.gpu_hours = cost.hours * ranks;
  cost.kilowatt_hours = cost.gpu_hours * gpu.watts / 1000;
  return cost;
}

}  // namespace retain
