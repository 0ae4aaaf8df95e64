#include "launch/verbs/trained_model.h"

#include <charconv>
#include <iostream>
#include <utility>

#include "kernels/core/text.h"
#include "launch/config/saved.h"
#include "trainer/checkpoint/trainer_state.h"
#include "trainer/data/documents.h"
#include "trainer/run/kept_tokenizer.h"
#include "trainer/run/resume.h"

namespace retain {

namespace {

/// Checkpoints of older releases do not say what their training data showed.
std::optional<int32_t> end_token_of(const RunState& state, const DataConfig& data, const Tokenizer& tokenizer) {
  const auto kept = state.identity.find(kDataEndToken);
  if (kept == state.identity.end()) return end_token(data, tokenizer.end_of_document());
  if (kept->second == kNoEndToken) return std::nullopt;
  int32_t token = -1;
  const char* const end = kept->second.data() + kept->second.size();
  const auto [rest, error] = std::from_chars(kept->second.data(), end, token);
  if (error == std::errc{} && rest == end && token >= 0) return token;
  throw Error(ErrorKind::kData,
              concat("the checkpoint has ", kDataEndToken, " = ", in_quotes(kept->second), ", which is no token"));
}

std::unique_ptr<Tokenizer> tokenizer_of(const Checkpoint& checkpoint, const DataConfig& data) {
  const auto kept = checkpoint.state().identity.find("data.tokenizer");
  const std::string fingerprint = kept == checkpoint.state().identity.end() ? kByteTokenizer : kept->second;
  return open_tokenizer(checkpoint.path(), data.tokenizer, fingerprint);
}

void check_tensor_parallel(const ModelConfig& model, int tp) {
  if (most_tensor_parallel(model) % tp == 0) return;
  throw SharedError(ErrorKind::kUsage,
                    concat("--tp: ", tp, " ranks cannot share this model (legal: ", legal_tensor_parallel(model), ")"));
}

}  // namespace

TrainedModel load_trained_model(const std::string& path, const ModelRanks& ranks) {
  const auto alone = make_self_communicator();
  Communicator& host = ranks.host ? *ranks.host : *alone;
  std::vector<std::string> warnings;
  const auto warn = [&](const std::string& line) {
    if (host.rank() == 0) std::cerr << "retain: " << line << "\n";
    warnings.push_back(line);
  };
  const Checkpoint checkpoint = open_verified(host, path, warn);
  const SavedConfig saved = read_saved_config(checkpoint.state().config_text);
  for (const auto& [key, value] : saved.unknown) {
    const std::string what =
        concat(key, " = ", value, " in ", checkpoint.path().string(), " is not known to this release");
    if (key.starts_with("model."))
      throw Error(ErrorKind::kData, concat(what, ": use the release that wrote it (", checkpoint.state().build, ")"));
    warn(what);
  }

  std::unique_ptr<Tokenizer> tokenizer = tokenizer_of(checkpoint, saved.config.data);
  const std::optional<int32_t> end_token = end_token_of(checkpoint.state(), saved.config.data, *tokenizer);
  TrainedModel model{.used = used_checkpoint(checkpoint, warnings),
                     .config = saved.config,
                     .tokenizer = std::move(tokenizer),
                     .end_token = end_token,
                     .target = {},
                     .backend = nullptr,
                     .parameters = nullptr};
  if (host.rank() == 0) tell(model.used);
  check_tensor_parallel(model.config.model, ranks.tp);

  // The device is this machine's, whatever trained the model; float64 runs stay float64.
  Config here = model.config;
  here.device = DeviceKind::kAuto;
  if (here.precision == Precision::kFp64) here.device = DeviceKind::kCpu;
  if (here.precision == Precision::kBf16 && cuda_device_count() == 0) here.precision = Precision::kAuto;
  model.target = agree_on_target(host, here, cuda_device_count() > 0, threads_per_rank(ranks.local));
  model.backend = make_backend(model.target, ranks.local.rank);
  const ParameterLayout layout(model.config.model, host.rank() % ranks.tp, ranks.tp, 1);
  model.parameters = std::make_unique<ParameterStore>(*model.backend, layout, model.target.compute, ReplicaShare(),
                                                      Residency::kInference);
  load_weights(checkpoint, *model.parameters);
  return model;
}

}  // namespace retain
