// retain eval: what a checkpoint is worth: its loss on sets of tokens, and public tasks.
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "kernels/core/text.h"
#include "launch/failure.h"
#include "launch/verbs/trained_model.h"
#include "launch/verbs/verbs.h"
#include "parallel/agreement.h"
#include "parallel/nccl/nccl_communicator.h"
#include "trainer/inference/evaluate.h"
#include "trainer/inference/tasks.h"
#include "trainer/model/mesh_model.h"

namespace retain {

namespace {

using Json = nlohmann::ordered_json;

// Windows evaluated at once: enough to fill the products of a small model.
constexpr int64_t kWindowsAtOnce = 4;
// Longer windows are computed in segments of so many tokens, a whole number of chunks of every backend.
constexpr int64_t kSegmentTokens = 8192;

int64_t quotient_up(int64_t dividend, int64_t divisor) { return (dividend + divisor - 1) / divisor; }

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

Json to_json(const EvalResult& result, const std::optional<double>& word_perplexity) {
  Json json = {{"loss", result.loss}, {"perplexity", result.perplexity()}};
  if (word_perplexity) json["word_perplexity"] = *word_perplexity;
  if (result.bits_per_byte) json["bits_per_byte"] = *result.bits_per_byte;
  json["tokens"] = result.tokens;
  json["loss_by_position"] = result.loss_by_position;
  return json;
}

Json to_json(const ChoicesResult& result) {
  return {{"acc", result.acc.value},
          {"acc_stderr", result.acc.standard_error},
          {"acc_norm", result.acc_norm.value},
          {"acc_norm_stderr", result.acc_norm.standard_error},
          {"acc_bytes", result.acc_bytes.value},
          {"acc_bytes_stderr", result.acc_bytes.standard_error},
          {"questions", result.questions}};
}

Json to_json(const LastWordsResult& result) {
  return {{"acc", result.acc.value},
          {"acc_stderr", result.acc.standard_error},
          {"perplexity", result.perplexity.value},
          {"perplexity_stderr", result.perplexity.standard_error},
          {"texts", result.texts}};
}

Json to_json(const DocumentsResult& result) {
  return {{"word_perplexity", result.word_perplexity()},
          {"byte_perplexity", result.byte_perplexity()},
          {"bits_per_byte", result.bits_per_byte()},
          {"loss", result.loss()},
          {"tokens", result.tokens},
          {"words", result.words},
          {"bytes", result.bytes},
          {"documents", result.documents}};
}

/// key=value words of what a task came to; counts last.
std::string words_of(const Json& result) {
  std::string words;
  for (const auto& [key, value] : result.items())
    words += value.is_number_integer()         ? fmt::format(" {}={}", key, value.get<int64_t>())
             : std::isnan(value.get<double>()) ? fmt::format(" {}=nan", key)  // of either sign
                                               : fmt::format(" {}={:.4f}", key, value.get<double>());
  return words;
}

/// One evaluation on the ranks of a mesh: the model, and what it is given.
class Evaluation {
 public:
  Evaluation(const EvalOptions& options, const TrainedModel& trained, Mesh& mesh)
      : options_(options),
        trained_(trained),
        mesh_(mesh),
        tokenizer_(std::make_shared<const TokenizerFacts>(facts_of(*trained.tokenizer))) {}

  /// Of rank 0.
  Json run() {
    if (options_.stride > data_config().seq_len) {
      throw SharedError(ErrorKind::kUsage, concat("--stride: ", options_.stride, " tokens apart, windows of ",
                                                  data_config().seq_len, " tokens leave some out: give a --context"));
    }
    Json json = {{"schema", 1}, {"checkpoint", to_json(trained_.used)}, {"mode", form_name(options_.mode)}};
    json["precision"] = precision_name(trained_.target.compute);
    json["context"] = data_config().seq_len;
    if (options_.stride > 0) json["stride"] = options_.stride;
    json["ranks"] = mesh_.shape().ranks();
    json["mesh"] = mesh_.shape().describe();
    if (!options_.data.empty()) json["sets"] = evaluate_sets();
    evaluate_tasks(json, "choices", options_.choices, [&](const std::string& path) { return evaluate_choices(path); });
    evaluate_tasks(json, "last_words", options_.last_words,
                   [&](const std::string& path) { return evaluate_last_words(path); });
    evaluate_tasks(json, "documents", options_.documents,
                   [&](const std::string& path) { return evaluate_documents(path); });
    return json;
  }

 private:
  bool speaks() const { return mesh_.world_rank() == 0 && !options_.json; }

  /// How windows are cut: as in training, but for what was asked.
  DataConfig data_config() const {
    DataConfig data = trained_.config.data;
    if (options_.context > 0) data.seq_len = options_.context;
    if (options_.carry_documents) data.reset_state_at_documents = false;
    return data;
  }

  MeshModel make_model(const BatchShape& shape) const {
    return {*trained_.backend,       mesh_, *trained_.parameters,        trained_.config.model,
            trained_.target.compute, shape, trained_.config.train.chunk, Residency::kInference};
  }

  Json evaluate_sets() {
    DataConfig data = data_config();
    std::vector<std::string> paths;
    for (const NamedPath& named : options_.data) paths.push_back(named.path);
    std::vector<Documents> sets =
        open_documents(mesh_.host(), paths, data, trained_.config.model.vocab_size, tokenizer_, trained_.end_token);
    int64_t longest = 0;
    for (const Documents& set : sets) longest = std::max(longest, set.tokens() - 1);
    // Windows that are longer than all there is would only take memory.
    data.seq_len = std::clamp<int64_t>(longest, 1, data.seq_len);

    const int64_t stride = options_.stride > 0 ? std::min(options_.stride, data.seq_len) : data.seq_len;
    const int64_t targets = options_.tokens > 0 ? std::min(options_.tokens, longest) : longest;
    const int64_t windows = 1 + quotient_up(std::max<int64_t>(0, targets - data.seq_len), stride);
    const int64_t tokens = quotient_up(std::min(data.seq_len, kSegmentTokens), mesh_.shape().cp);
    const int64_t at_once = tokens * mesh_.shape().cp;
    MeshModel model = make_model({.sequences = std::min(kWindowsAtOnce, quotient_up(windows, mesh_.shape().dp)),
                                  .tokens = tokens,
                                  .parts = mesh_.shape().cp,
                                  .segment_count = quotient_up(data.seq_len, at_once)});
    Json json = Json::object();
    for (size_t i = 0; i < sets.size(); ++i) {
      const std::string& name = options_.data[i].name;
      const EvalWindows set = look_at(std::move(sets[i]), data, model, stride);
      const EvalResult result = evaluate(*trained_.backend, mesh_, model.model(), set, model.batch(), options_.mode);
      const std::optional<double> by_word = word_perplexity(result, options_, name);
      json[name] = to_json(result, by_word);
      if (speaks()) print(name, result, by_word);
    }
    return json;
  }

  /// The windows of a set, of which something is predicted; what there is to know about it is said on stderr.
  EvalWindows look_at(Documents documents, const DataConfig& data, MeshModel& model, int64_t stride) const {
    const BatchShape& shape = model.model().dims().batch;
    EvalWindows windows(std::move(documents), data, trained_.config.model.vocab_size, shape.sequences, mesh_.shape(),
                        mesh_.at(), options_.tokens, shape.segment_tokens(), stride);
    do_on_rank_0(mesh_.host(), [&] {
      for (const SetNote& note : windows.look_at())
        fmt::print(stderr, "retain: {}{}: {}\n", note.warning ? "warning: " : "", note.sets, note.text);
    });
    return windows;
  }

  void print(const std::string& name, const EvalResult& result, const std::optional<double>& word_perplexity) const {
    fmt::print("set={} mode={} loss={:.6f} perplexity={:.4f} ", name, form_name(options_.mode), result.loss,
               result.perplexity());
    if (word_perplexity) fmt::print("word_perplexity={:.4f} ", *word_perplexity);
    if (result.bits_per_byte) fmt::print("bits_per_byte={:.4f} ", *result.bits_per_byte);
    fmt::print("tokens={}\n", result.tokens);
  }

  template <class Evaluate>
  void evaluate_tasks(Json& json, const char* kind, const std::vector<std::string>& paths, const Evaluate& evaluate) {
    for (const std::string& path : paths) {
      const Json result = evaluate(path);
      json[kind][path] = result;
      if (speaks()) fmt::print("{}={} mode={}{}\n", kind, as_word(path), form_name(options_.mode), words_of(result));
    }
  }

  /// The file that rank 0 reads, and what all make of it.
  template <class Parse>
  auto parse(const std::string& path, const Parse& parse) const {
    std::string text;
    do_on_rank_0(mesh_.host(), [&] { text = read_task_file(path); });
    text = broadcast_text(mesh_.host(), text, 0);
    decltype(parse(text, path)) parsed;
    do_alike([&] { parsed = parse(text, path); });
    return parsed;
  }

  std::vector<TextScore> score(const std::vector<ScoredText>& texts, bool looks_whether_greedy) {
    MeshModel model = make_model(shape_for(texts, mesh_.shape()));
    return score_texts(model, texts, options_.mode, looks_whether_greedy);
  }

  /// What all ranks make alike of a file's texts; complaints name the file.
  template <class Make>
  auto make_of(const std::string& path, const Make& make) const {
    decltype(make()) made;
    do_alike([&] {
      const Outcome outcome = attempt([&] { made = make(); });
      if (!outcome.ok) throw Error(outcome.kind, concat(path, ": ", outcome.message));
    });
    return made;
  }

  template <class Encode, class Items>
  std::vector<ScoredText> encode(const std::string& path, const Encode& encode, const Items& items) const {
    return make_of(path, [&] { return encode(*trained_.tokenizer, items, trained_.end_token); });
  }

  Json evaluate_choices(const std::string& path) {
    const std::vector<Question> questions = parse(path, parse_questions);
    const std::vector<TextScore> scores = score(encode(path, encode_questions, questions), false);
    return to_json(make_of(path, [&] { return judge_choices(questions, scores); }));
  }

  Json evaluate_last_words(const std::string& path) {
    const std::vector<LastWord> texts = parse(path, parse_last_words);
    const std::vector<TextScore> scores = score(encode(path, encode_last_words, texts), true);
    return to_json(make_of(path, [&] { return judge_last_words(scores); }));
  }

  Json evaluate_documents(const std::string& path) {
    const std::vector<std::string> documents = parse(path, parse_texts);
    const std::vector<ScoredText> texts = encode(path, encode_documents, documents);
    return to_json(judge_documents(documents, texts, score(texts, false)));
  }

  const EvalOptions& options_;
  const TrainedModel& trained_;
  Mesh& mesh_;
  std::shared_ptr<const TokenizerFacts> tokenizer_;
};

MeshShape mesh_shape(const EvalOptions& options, int ranks) {
  const int64_t together = int64_t{options.tp} * options.cp;
  if (ranks % together != 0) {
    throw SharedError(ErrorKind::kUsage, concat("--tp ", options.tp, " times --cp ", options.cp, " = ", together,
                                                " does not divide the ", ranks, ranks == 1 ? " rank" : " ranks",
                                                ": start a multiple of ", together, " with mpirun"));
  }
  return {.dp = static_cast<int>(ranks / together), .cp = options.cp, .tp = options.tp};
}

}  // namespace

int eval(const EvalOptions& options, const MpiEnvironment* mpi) {
  std::unique_ptr<Communicator> host = make_host_communicator(mpi);
  const MeshShape shape = mesh_shape(options, host->size());
  const LocalPlace local = local_place(mpi);
  const TrainedModel trained =
      load_trained_model(options.checkpoint, {.host = host.get(), .local = local, .tp = options.tp});
  const bool cuda = trained.target.device == DeviceKind::kCuda && shape.ranks() > 1;
  const MakeTensorGroup groups =
      cuda ? make_nccl_groups(*host, device_of(local.rank), trained.backend->stream()) : MakeTensorGroup(same_group);
  Mesh mesh(shape, std::move(host), groups);
  const auto run = [&] {
    const Json json = Evaluation(options, trained, mesh).run();
    if (options.json && mesh.world_rank() == 0) std::cout << json.dump(2) << "\n";
    return 0;
  };
  return run_to_exit_code(mpi, run, {.let_go = [] {}});  // the groups die with the job
}

}  // namespace retain
