// retain eval: the loss of a checkpoint on named token sets.
#include <fmt/core.h>

#include <cmath>
#include <iostream>
#include <nlohmann/json.hpp>
#include <numbers>

#include "launch/verbs/trained_model.h"
#include "launch/verbs/verbs.h"
#include "trainer/inference/evaluate.h"
#include "trainer/model/one_rank_model.h"

namespace retain {

namespace {

// Windows evaluated at once: enough to fill the products of a small model.
constexpr int64_t kWindowsAtOnce = 4;

const char* form_name(RetentionForm form) {
  switch (form) {
    case RetentionForm::kParallel: return "parallel";
    case RetentionForm::kChunkwise: return "chunkwise";
    case RetentionForm::kRecurrent: return "recurrent";
  }
  return "";
}

nlohmann::ordered_json to_json(const EvalResult& result, double bits_per_byte) {
  nlohmann::ordered_json by_position = nlohmann::ordered_json::array();
  for (const double loss : result.loss_by_position) by_position.push_back(loss);
  return {{"loss", result.loss},
          {"perplexity", result.perplexity()},
          {"bits_per_byte", bits_per_byte},
          {"tokens", result.tokens},
          {"loss_by_position", by_position}};
}

}  // namespace

int eval(const EvalOptions& options) {
  TrainedModel trained = load_trained_model(options.checkpoint);
  const Config& config = trained.config;
  Backend& backend = *trained.backend;
  OneRankModel alone(backend, *trained.parameters, config.model, trained.target.compute,
                     {.sequences = kWindowsAtOnce, .tokens = config.data.seq_len}, config.train.chunk,
                     Residency::kInference);

  nlohmann::ordered_json sets = nlohmann::ordered_json::object();
  for (const NamedPath& data : options.data) {
    const EvalWindows windows(TokenSet(data.path, config.model.vocab_size), config.data, config.model.vocab_size,
                              kWindowsAtOnce, alone.mesh().shape(), alone.mesh().at(), options.tokens);
    const EvalResult result = evaluate(backend, alone.mesh(), alone.model(), windows, alone.batch(), options.mode);
    // A byte-level token is a byte (end-of-document, which has no text, is one in a document).
    const double bits_per_byte = result.loss / std::numbers::ln2;
    sets[data.name] = to_json(result, bits_per_byte);
    if (!options.json) {
      fmt::print("set={} mode={} loss={:.6f} perplexity={:.4f} bits_per_byte={:.4f} tokens={}\n", data.name,
                 form_name(options.mode), result.loss, result.perplexity(), bits_per_byte, result.tokens);
    }
  }
  if (options.json) {
    const nlohmann::ordered_json json = {
        {"schema", 1}, {"checkpoint", to_json(trained.used)}, {"mode", form_name(options.mode)}, {"sets", sets}};
    std::cout << json.dump(2) << "\n";
  }
  return 0;
}

}  // namespace retain
