#include "trainer/interop/golden.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "trainer/interop/model_import.h"
#include "trainer/model/host_values.h"
#include "trainer/model/one_rank_model.h"

namespace retain {

namespace {

// Short, so that a golden sequence has several chunks, the last one short (where the backend leaves the choice).
constexpr int64_t kChunk = 24;

double relative_error(const std::vector<double>& ours, const std::vector<float>& theirs, const std::string& name) {
  if (ours.size() != theirs.size())
    throw Error(ErrorKind::kData, concat(name, " has ", theirs.size(), " values, want ", ours.size()));
  double difference = 0, size = 0;
  for (size_t i = 0; i < theirs.size(); ++i) {
    difference += (ours[i] - theirs[i]) * (ours[i] - theirs[i]);
    size += static_cast<double>(theirs[i]) * theirs[i];
  }
  return std::sqrt(difference / size);
}

HostBatch golden_batch(const SafetensorsFile& golden, int64_t vocab_size) {
  const std::vector<int64_t> shape = golden.entry("tokens").shape;
  if (shape.size() != 2 || golden.entry("targets").shape != shape) {
    throw Error(ErrorKind::kData, golden.path() + ": tokens and targets must be [B,T] alike");
  }
  HostBatch batch;
  batch.sequences = shape[0];
  batch.tokens = shape[1];
  batch.token_ids = golden.read_int("tokens");
  batch.targets = golden.read_int("targets");
  for (const int32_t token : batch.token_ids) {
    if (token < 0 || token >= vocab_size)
      throw Error(ErrorKind::kData, concat(golden.path(), ": token ", token, " is outside the vocabulary"));
  }
  batch.document_start.assign(batch.token_ids.size(), 0);
  batch.token_order.resize(batch.token_ids.size());
  std::iota(batch.token_order.begin(), batch.token_order.end(), 0);
  std::stable_sort(batch.token_order.begin(), batch.token_order.end(),
                   [&](int32_t a, int32_t b) { return batch.token_ids[a] < batch.token_ids[b]; });
  batch.carry.assign(static_cast<size_t>(batch.sequences), 0.0F);
  batch.valid_targets = std::count_if(batch.targets.begin(), batch.targets.end(), [](int32_t t) { return t >= 0; });
  if (batch.valid_targets == 0) throw Error(ErrorKind::kData, golden.path() + ": targets has none that counts");
  return batch;
}

}  // namespace

std::vector<GoldenComparison> check_golden(const std::string& folder, Backend& backend, DType compute) {
  const ImportedModel imported = read_model_folder(folder);
  const SafetensorsFile golden(folder + "/golden.safetensors");
  const ModelConfig& config = imported.config();
  const HostBatch host = golden_batch(golden, config.vocab_size);

  const ParameterLayout layout(config, 0, 1, 1);
  ParameterStore parameters(backend, layout, compute, ReplicaShare(layout.buckets), Residency::kTraining);
  for (const ParameterSpec& spec : layout.parameters) {
    const std::vector<float> weight = imported.read(spec.name);
    parameters.set_weight(spec, {weight.begin(), weight.end()});
  }
  OneRankModel alone(backend, parameters, config, compute, {.sequences = host.sequences, .tokens = host.tokens}, kChunk,
                     Residency::kTraining);
  RetNet& model = alone.model();
  const Dimensions& dims = model.dims();
  const DeviceBatch batch = upload_batch(backend, host, alone.batch());

  const bool rounds = compute == DType::kBfloat16;
  const double logits_limit = rounds ? 3e-2 : 1e-5, gradient_limit = rounds ? 6e-2 : 1e-4;
  const std::vector<float> their_logits = golden.read_float("logits"), their_loss = golden.read_float("loss");
  const double scale = 1.0 / static_cast<double>(host.valid_targets);
  const Buffer scale_memory(backend, int64_t{sizeof(double)});
  const TensorView device_scale(scale_memory.data(), DType::kFloat64, {1});
  backend.upload(device_scale, &scale);
  std::vector<GoldenComparison> all;

  const bool has_gradients = std::any_of(golden.entries().begin(), golden.entries().end(),
                                         [](const SafetensorsEntry& entry) { return entry.name.starts_with("grad."); });
  for (const auto& [mode, form] : {std::pair{"parallel", RetentionForm::kParallel},
                                   {"chunkwise", RetentionForm::kChunkwise},
                                   {"recurrent", RetentionForm::kRecurrent}}) {
    model.forward(batch, form);
    std::vector<double> logits;
    for (int64_t row = 0; row < dims.rows(); row += dims.logits_rows) {
      const TensorView rows = model.logits(batch, row, std::min(dims.logits_rows, dims.rows() - row));
      const std::vector<double> values = download_wide(backend, rows.slice(1, 0, config.vocab_size));
      logits.insert(logits.end(), values.begin(), values.end());
    }
    all.push_back({mode, "logits", relative_error(logits, their_logits, golden.path() + ": logits"), logits_limit});

    const bool backward = has_gradients && form != RetentionForm::kRecurrent;
    const std::vector<double> losses =
        download_wide(backend, backward ? model.loss_and_backward(batch, device_scale, GradientWrite::kReplace, form)
                                        : model.loss(batch));
    const double loss = std::accumulate(losses.begin(), losses.end(), 0.0) * scale;
    all.push_back({mode, "loss", relative_error({loss}, their_loss, golden.path() + ": loss"), logits_limit});
    if (!backward) continue;
    for (const ParameterSpec& spec : layout.parameters) {
      const ForeignParameter& foreign = imported.parameter(spec.name);
      std::vector<double> gradient = download_wide(backend, parameters.gradient(spec.name));
      gradient.resize(static_cast<size_t>(spec.real_rows * spec.columns));  // without padding rows
      all.push_back({mode, "grad." + foreign.foreign_name,
                     relative_error(gradient, read_as_ours(golden, foreign, "grad."), foreign.foreign_name),
                     gradient_limit});
    }
  }
  return all;
}

}  // namespace retain
