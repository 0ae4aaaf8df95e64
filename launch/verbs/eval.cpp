// retain eval: the loss of a checkpoint on named token sets.
#include <fmt/core.h>

#include <cmath>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

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

/// exp of all nats over the words of the text; nothing where nobody said how many there are.
std::optional<double> word_perplexity(const EvalResult& result, const EvalOptions& options, const std::string& set) {
  const auto words = options.words.find(set);
  if (words == options.words.end()) return std::nullopt;
  return std::exp(result.loss * static_cast<double>(result.tokens) / static_cast<double>(words->second));
}

nlohmann::ordered_json to_json(const EvalResult& result, const std::optional<double>& word_perplexity) {
  nlohmann::ordered_json json = {{"loss", result.loss}, {"perplexity", result.perplexity()}};
  if (word_perplexity) json["word_perplexity"] = *word_perplexity;
  if (result.bits_per_byte) json["bits_per_byte"] = *result.bits_per_byte;
  json["tokens"] = result.tokens;
  json["loss_by_position"] = result.loss_by_position;
  return json;
}

void print(const std::string& name, RetentionForm form, const EvalResult& result,
           const std::optional<double>& word_perplexity) {
  fmt::print("set={} mode={} loss={:.6f} perplexity={:.4f} ", name, form_name(form), result.loss, result.perplexity());
  if (word_perplexity) fmt::print("word_perplexity={:.4f} ", *word_perplexity);
  if (result.bits_per_byte) fmt::print("bits_per_byte={:.4f} ", *result.bits_per_byte);
  fmt::print("tokens={}\n", result.tokens);
}

// The windows of a set, of which something is predicted; what there is to know about it is said on stderr.
EvalWindows open_windows(const NamedPath& data, const TrainedModel& trained,
                         const std::shared_ptr<const TokenizerFacts>& tokenizer, const Mesh& mesh, int64_t tokens) {
  const Config& config = trained.config;
  Documents documents(TokenSet(data.path, config.model.vocab_size), config.data, trained.end_token, tokenizer);
  EvalWindows windows(std::move(documents), config.data, config.model.vocab_size, kWindowsAtOnce, mesh.shape(),
                      mesh.at(), tokens, 0);
  for (const SetNote& note : windows.look_at()) {
    fmt::print(stderr, "retain: {}{}: {}\n", note.warning ? "warning: " : "", note.sets, note.text);
  }
  return windows;
}

}  // namespace

int eval(const EvalOptions& options) {
  TrainedModel trained = load_trained_model(options.checkpoint);
  const Config& config = trained.config;
  Backend& backend = *trained.backend;
  OneRankModel alone(backend, *trained.parameters, config.model, trained.target.compute,
                     {.sequences = kWindowsAtOnce, .tokens = config.data.seq_len}, config.train.chunk,
                     Residency::kInference);

  const auto tokenizer = std::make_shared<const TokenizerFacts>(facts_of(*trained.tokenizer));
  nlohmann::ordered_json sets = nlohmann::ordered_json::object();
  for (const NamedPath& data : options.data) {
    const EvalWindows windows = open_windows(data, trained, tokenizer, alone.mesh(), options.tokens);
    const EvalResult result = evaluate(backend, alone.mesh(), alone.model(), windows, alone.batch(), options.mode);
    const std::optional<double> by_word = word_perplexity(result, options, data.name);
    sets[data.name] = to_json(result, by_word);
    if (!options.json) print(data.name, options.mode, result, by_word);
  }
  if (options.json) {
    const nlohmann::ordered_json json = {
        {"schema", 1}, {"checkpoint", to_json(trained.used)}, {"mode", form_name(options.mode)}, {"sets", sets}};
    std::cout << json.dump(2) << "\n";
  }
  return 0;
}

}  // namespace retain
