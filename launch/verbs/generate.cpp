// retain generate: recurrent decoding from one prompt, or from many at once.
#include <fmt/core.h>

#include <deque>
#include <iostream>
#include <memory>
#include <utility>
#include <vector>

#include "kernels/gpu_facts.h"
#include "launch/signals.h"
#include "launch/verbs/prompts.h"
#include "launch/verbs/trained_model.h"
#include "launch/verbs/verbs.h"
#include "parallel/agreement.h"
#include "trainer/inference/engine.h"
#include "trainer/inference/generated_text.h"
#include "trainer/inference/state_file.h"

namespace retain {

namespace {

using Json = nlohmann::ordered_json;

/// A model, and what a sequence begins with.
struct Model {
  explicit Model(const GenerateOptions& o, int64_t slots)
      : options(o),
        trained(load_trained_model(o.checkpoint)),
        decoder(*trained.backend, *trained.parameters, trained.config.model, trained.target.compute, slots),
        engine(decoder, drawable_tokens(decoder.vocab_size(), *trained.tokenizer, trained.end_token),
               trained.end_token) {
    if (!o.state.empty() || !o.save_state.empty())
      fingerprint = model_fingerprint(*trained.backend, *trained.parameters, trained.config.model);
    if (!o.state.empty()) begun = read_state_file(o.state, fingerprint, decoder.vocab_size());
  }

  std::vector<int32_t> tokens_of(const std::string& prompt, const std::string& where) const {
    std::vector<int32_t> tokens = begun ? begun->tokens : std::vector<int32_t>();
    const std::vector<int32_t> more = trained.tokenizer->encode(prompt);
    tokens.insert(tokens.end(), more.begin(), more.end());
    if (tokens.empty() && !trained.end_token) {
      throw Error(ErrorKind::kUsage, concat("no document of this model begins with a token (data.end_of_document: "
                                            "none): give a ",
                                            where));
    }
    if (tokens.empty()) tokens.push_back(*trained.end_token);  // with which a document begins
    return tokens;
  }

  const GenerateOptions& options;
  TrainedModel trained;
  Decoder decoder;
  Engine engine;
  std::string fingerprint;
  std::optional<ReadPrompt> begun;  ///< what --state holds
};

/// A prompt and what the model makes of it.
class Answer : public Sequence {
 public:
  Answer(const Model& model, std::vector<int32_t> tokens)
      : model_(model), text_(*model.trained.tokenizer, tokens, model.options.stops) {
    prompt = std::move(tokens);
    max_tokens = model.options.max_tokens;
    sampling = model.options.sampling;
    if (!model.begun) return;
    state = &model.begun->state;
    seen = model.begun->seen;
  }

  bool on_token(int32_t token, const Decoder::Scored&) override {
    if (token == model_.trained.end_token) return true;
    ++tokens_;
    take(text_.add(token));
    return !text_.stopped();
  }
  void on_end(SequenceEnd end, const std::string& reason) override {
    if (end == SequenceEnd::kFailed) throw Error(ErrorKind::kData, reason);
    finish();
    end_ = end;
  }

  /// What is left of the text, when nothing more is drawn.
  void finish() { take(text_.rest()); }
  virtual void take(const std::string& text) = 0;
  const std::optional<SequenceEnd>& how_ended() const { return end_; }
  int64_t tokens() const { return tokens_; }

 protected:
  const Model& model_;

 private:
  GeneratedText text_;
  std::optional<SequenceEnd> end_;
  int64_t tokens_ = 0;
};

/// Goes to stdout as it comes.
class PrintedAnswer : public Answer {
 public:
  using Answer::Answer;

  bool keeps_state() const override { return !model_.options.save_state.empty(); }
  void on_state(Decoder::SavedState&& state, std::span<const int32_t> rest) override {
    SeenTokens seen = model_.begun ? model_.begun->seen : SeenTokens(model_.decoder.vocab_size());
    seen.add(prompt);
    write_state_file(model_.options.save_state, model_.fingerprint,
                     {.state = std::move(state), .tokens = {rest.begin(), rest.end()}, .seen = std::move(seen)});
  }
  void take(const std::string& text) override {
    if (!text.empty()) std::cout << text << std::flush;
  }
};

/// A line of JSON.
class AnswerLine : public Answer {
 public:
  AnswerLine(const Model& model, PromptLines::Line line)
      : Answer(model, model.tokens_of(line.prompt, "prompt in every line")), json_(std::move(line.object)) {}

  void take(const std::string& text) override { all_ += text; }
  void print() {
    json_["text"] = all_;
    json_["end"] = how_ended() == SequenceEnd::kMaxTokens ? "max-tokens"
                   : how_ended() == SequenceEnd::kEnough  ? "stop"
                                                          : "end of document";
    json_["tokens"] = tokens();
    std::cout << json_.dump(-1, ' ', false, Json::error_handler_t::replace) << "\n" << std::flush;
  }

 private:
  Json json_;
  std::string all_;
};

/// Why there is no more of the answer; `cut`: before it ended.
std::string why(const Answer& answer, bool cut) {
  if (cut) return std::cout.good() ? "interrupted" : "standard output takes no more";
  switch (answer.how_ended().value_or(SequenceEnd::kEnough)) {
    case SequenceEnd::kEndOfDocument: return "the document ended";
    case SequenceEnd::kMaxTokens: return "as many as --max-tokens allows";
    default: return "at a --stop";
  }
}

/// What it took, on stderr. `energy` began with the first token.
void tell_costs(const Model& model, const std::optional<EnergyMeter::Interval>& energy) {
  const Engine::Counts& counts = model.engine.counts();
  const auto real = [](int64_t n) { return static_cast<double>(n); };
  std::string line = fmt::format("retain: read {} tokens", counts.prompt_tokens);
  if (counts.prompt_seconds > 0)
    line += fmt::format(", {:.0f} a second", real(counts.prompt_tokens) / counts.prompt_seconds);
  if (counts.steps > 0) {
    line += fmt::format("; {:.3f} ms a token", 1e3 * counts.step_seconds / real(counts.steps));
    if (model.decoder.slots() > 1)
      line += fmt::format(" of each, {:.0f} a second of all", real(counts.stepped_tokens) / counts.step_seconds);
  }
  line += fmt::format("; a state of {} bytes", model.decoder.state_bytes());
  if (energy && counts.drawn_tokens > 0)
    line += fmt::format("; {:.3f} J a token", energy->joules / real(counts.drawn_tokens));
  std::cerr << line << "\n";
}

std::optional<EnergyMeter> meter_of(const Model& model) {
  if (model.trained.backend->device() != Device::kCuda) return std::nullopt;
  return find_energy_meter(cuda_bus_id(0));
}

/// Whether somebody wants the end, or nobody reads what is written.
bool asked_to_end(SignalWishes& signals) {
  signals.progressed();
  return signals.stop_requested() || !std::cout.good();
}

/// Who was asked to end by a signal ends by it, unless that was ignored before.
int end(SignalWishes& signals) {
  std::cout << std::flush;
  signals.give_up();
  return signals.stop_requested() ? 128 + SIGINT : 0;
}

int continue_one(const GenerateOptions& options, SignalWishes& signals) {
  if (!options.save_state.empty()) check_state_path(options.save_state);
  const std::string prompt = read_prompt(options);
  Model model(options, 1);
  PrintedAnswer answer(model, model.tokens_of(prompt, "--prompt"));
  signals.take_up(nullptr);
  std::cout << prompt << std::flush;
  std::optional<EnergyMeter> meter;
  model.engine.add(answer);
  bool more = true;
  while (!asked_to_end(signals) && (more = model.engine.advance()))
    if (!meter && answer.tokens() > 0) meter = meter_of(model);
  if (more) answer.finish();
  std::cout << "\n" << std::flush;
  std::cerr << concat("retain: ", answer.tokens(), " tokens: ", why(answer, more), "\n");
  tell_costs(model, meter ? meter->take() : std::nullopt);
  return end(signals);
}

int continue_lines(const GenerateOptions& options, SignalWishes& signals) {
  PromptLines lines(options.prompts_file);
  Model model(options, options.slots);
  std::optional<EnergyMeter> meter = meter_of(model);
  std::deque<std::unique_ptr<AnswerLine>> answers;  // in the order of the lines, from the first that is not printed
  signals.take_up(nullptr);
  bool at_end = false;
  Outcome reading;  // one line that is wrong costs no other its answer
  const auto begin_next = [&] {
    std::optional<PromptLines::Line> line = lines.next();
    at_end = !line;
    if (line) model.engine.add(*answers.emplace_back(std::make_unique<AnswerLine>(model, std::move(*line))));
  };
  do {
    while (!at_end && reading.ok && model.engine.waiting() < options.slots) reading = attempt(begin_next);
    for (; !answers.empty() && answers.front()->how_ended(); answers.pop_front()) answers.front()->print();
  } while (!asked_to_end(signals) && model.engine.advance());
  tell_costs(model, meter ? meter->take() : std::nullopt);
  if (!signals.stop_requested()) reading.throw_if_failed();
  return end(signals);
}

}  // namespace

int generate(const GenerateOptions& options, SignalWishes& signals) {
  return options.prompts_file.empty() ? continue_one(options, signals) : continue_lines(options, signals);
}

}  // namespace retain
