#include "launch/verbs/trained_model.h"

#include <filesystem>
#include <iostream>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "kernels/core/text.h"
#include "launch/verbs/foreign_model.h"
#include "launch/verbs/saved_model.h"
#include "parallel/agreement.h"
#include "parallel/host_name.h"
#include "trainer/data/documents.h"
#include "trainer/inference/weight_source.h"

namespace retain {

namespace {

void check_tensor_parallel(const ModelConfig& model, int tp) {
  if (most_tensor_parallel(model) % tp == 0) return;
  throw Error(ErrorKind::kUsage,
              concat("--tp: ", tp, " ranks cannot share this model (legal: ", legal_tensor_parallel(model), ")"));
}

/// On this machine's device, whatever trained the model; float64 runs stay float64. The weights are still to come.
TrainedModel without_weights(Config config, std::unique_ptr<Tokenizer> tokenizer, std::optional<int32_t> end_token,
                             const ModelRanks& ranks) {
  check_tensor_parallel(config.model, ranks.tp);
  Config here = config;
  here.device = DeviceKind::kAuto;
  if (here.precision == Precision::kFp64) here.device = DeviceKind::kCpu;
  if (here.precision == Precision::kBf16 && cuda_device_count() == 0) here.precision = Precision::kAuto;
  TrainedModel model{.used = {},
                     .config = std::move(config),
                     .tokenizer = std::move(tokenizer),
                     .end_token = end_token,
                     .target = resolve_target(here, cuda_device_count() > 0, threads_per_rank({})),
                     .backend = nullptr,
                     .parameters = nullptr};
  model.backend =
      make_backend(model.target, model.target.device == DeviceKind::kCuda ? device_of(ranks.local.rank) : 0);
  const int rank = ranks.host ? ranks.host->rank() : 0;
  const ParameterLayout layout(model.config.model, rank % ranks.tp, ranks.tp, 1);
  model.parameters = std::make_unique<ParameterStore>(*model.backend, layout, model.target.compute, ReplicaShare(),
                                                      Residency::kInference);
  return model;
}

TrainedModel load_checkpoint(Communicator& host, const std::string& path, const ModelRanks& ranks) {
  std::vector<std::string> warnings;
  const auto warn = [&](const std::string& line) {
    if (host.rank() == 0) std::cerr << "retain: " << line << "\n";
    warnings.push_back(line);
  };
  std::optional<TrainedModel> model;
  const StepReader reader{.accept =
                              [&](const Checkpoint& checkpoint) {
                                model.reset();  // of a newer step that is damaged
                                const auto make = [&] {
                                  SavedModel saved = saved_model(checkpoint, warn);
                                  model = without_weights(std::move(saved.config), std::move(saved.tokenizer),
                                                          saved.end_token, ranks);
                                };
                                agree(host, attempt(make)).throw_if_failed();
                              },
                          .read =
                              [&](const Checkpoint& checkpoint) {
                                load_weights(*weights_of(checkpoint), *model->backend, *model->parameters);
                              }};
  const Checkpoint checkpoint = open_and_read(host, path, warn, reader);
  model->used = used_checkpoint(checkpoint, warnings);
  return std::move(*model);
}

TrainedModel load_folder(const std::string& path, const ModelRanks& ranks) {
  ForeignModel folder = open_foreign_model(path);
  const std::optional<int32_t> end = end_token(folder.config.data, folder.tokenizer->end_of_document());
  TrainedModel model = without_weights(std::move(folder.config), std::move(folder.tokenizer), end, ranks);
  load_weights(*weights_of(folder.weights), *model.backend, *model.parameters);
  model.used.run = folder.origin.run;
  model.used.path = std::filesystem::absolute(path).lexically_normal();
  model.used.step = folder.origin.step;
  return model;
}

}  // namespace

TrainedModel load_trained_model(const std::string& path, const ModelRanks& ranks) {
  const std::unique_ptr<Communicator> alone = ranks.host ? nullptr : make_self_communicator();
  Communicator& host = ranks.host ? *ranks.host : *alone;
  if (host.size() > 1) agree_on_target(host, {}, cuda_device_count() > 0, threads_per_rank(ranks.local));
  std::optional<TrainedModel> model;
  if (on_every_rank(host, is_model_folder(path))) {
    agree(host, attempt([&] { model = load_folder(path, ranks); })).throw_if_failed();
  } else {
    model = load_checkpoint(host, path, ranks);
  }
  agree_on_facts(host, {{"checkpoint", model->used.path}}, host_name());
  if (host.rank() == 0) tell(model->used);
  return std::move(*model);
}

}  // namespace retain
