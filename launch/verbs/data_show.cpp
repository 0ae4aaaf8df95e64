// retain data show: what a step of a run reads, decoded: the batches that training gets, of all ranks or of one.
#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <iostream>
#include <limits>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/core/text.h"
#include "launch/config/reader.h"
#include "launch/config/saved.h"
#include "launch/session.h"
#include "launch/verbs/verbs.h"
#include "parallel/agreement.h"
#include "parallel/topology.h"
#include "trainer/checkpoint/manifest.h"
#include "trainer/checkpoint/store.h"
#include "trainer/data/shown_samples.h"
#include "trainer/file.h"
#include "trainer/plan/plan.h"
#include "trainer/run/run_directory.h"
#include "trainer/trainer.h"

namespace retain {
namespace {

using nlohmann::ordered_json;

constexpr int64_t kLargestConfig = 1 << 20;

/// How the batches of a step are made.
struct Reading {
  Config config;
  Progress done = {};  ///< before the step
  DataOrder order = DataOrder::kEven;
};

/// What resolved.yaml of a run said, by the step until which it held.
std::map<int64_t, Config> configs_of(const RunDirectory& run) {
  constexpr std::string_view kUntil = "resolved-until-step-";
  std::map<int64_t, Config> configs;
  const auto add = [&](int64_t until, const std::string& name) {
    configs[until] = read_saved_config(read_text(File::open_given(run.file(name)), kLargestConfig)).config;
  };
  add(std::numeric_limits<int64_t>::max(), "resolved.yaml");
  for (const auto& entry : std::filesystem::directory_iterator(run.path())) {
    const std::string name = entry.path().filename().string();
    int64_t step = 0;
    if (!name.starts_with(kUntil)) continue;
    std::from_chars(name.data() + kUntil.size(), name.data() + name.size(), step);
    if (!configs.contains(step)) add(step, name);
  }
  return configs;
}

/// Of a run: from its newest checkpoint before the step on, with the values that held then.
Reading reading_of_run(const std::string& path, int64_t step) {
  const RunDirectory run(path);
  Reading reading;
  int64_t seq_len = 0;
  for (const StepEntry& entry : list_steps(checkpoints_directory(path))) {
    RunState saved;
    if (!attempt([&] { saved = read_manifest(entry.path).state; }).ok) continue;
    reading.order = static_cast<DataOrder>(saved.data_order);  // of the oldest alike
    if (saved.step >= step) continue;
    reading.done = {.steps = saved.step, .tokens = saved.tokens, .samples = saved.next_sample};
    seq_len = read_saved_config(saved.config_text).config.data.seq_len;
    break;
  }
  for (const auto& [until, config] : configs_of(run)) {
    if (until <= reading.done.steps) continue;
    // Samples of another length are counted anew, as a resume does it.
    if (seq_len > 0 && seq_len != config.data.seq_len) reading.done.samples = reading.done.tokens / config.data.seq_len;
    seq_len = config.data.seq_len;
    reading.config = config;
    reading.done = advance(reading.done, config, std::min(step - 1, until) - reading.done.steps);
    if (until >= step) break;
  }
  const std::string tokenizer = run.file("tokenizer");
  if (reading.config.data.tokenizer != kByteTokenizer && std::filesystem::is_directory(tokenizer))
    reading.config.data.tokenizer = tokenizer;
  return reading;
}

Reading reading_of(const DataShowOptions& options) {
  const int64_t step = std::max<int64_t>(options.step, 1);
  if (!options.run.empty()) return reading_of_run(options.run, step);
  std::vector<std::string> sets = options.sets;
  if (options.rank < 0)  // what all ranks read together depends on no mesh
    sets.insert(sets.end(), {"parallel.dp=auto", "parallel.cp=1", "parallel.tp=1"});
  Reading reading{.config = load_config(options.config, sets, options.ranks).config};
  reading.done = advance({}, reading.config, step - 1);
  return reading;
}

/// Tokens from one border to the next.
struct Stretch {
  int64_t position = 0;
  bool reset = false, ends_document = false;  ///< of its first token
  std::vector<int32_t> tokens;
};

std::vector<Stretch> stretches_of(const ShownSample& sample, std::optional<int32_t> end_token) {
  std::vector<Stretch> stretches;
  int64_t expected = -1;  // of a rank's part of each segment the next one lies elsewhere
  for (const ShownToken& token : sample.tokens) {
    const bool ends = token.token == end_token;
    if (token.position != expected || token.reset || ends)
      stretches.push_back({.position = token.position, .reset = token.reset, .ends_document = ends, .tokens = {}});
    stretches.back().tokens.push_back(token.token);
    expected = token.position + 1;
  }
  return stretches;
}

/// The text, or the numbers where they are none of the tokenizer's.
ordered_json text_of(const std::vector<int32_t>& tokens, const Tokenizer& tokenizer) {
  std::string text;
  return attempt([&] { text = tokenizer.decode(tokens); }).ok ? ordered_json(text) : ordered_json(tokens);
}

std::string dump(const ordered_json& json) { return json.dump(-1, ' ', false, ordered_json::error_handler_t::replace); }

/// "0,17-31": positions of the tokens for which `holds`.
template <class Holds>
std::string ranges(const ShownSample& sample, const Holds& holds) {
  std::string text;
  for (size_t i = 0; i < sample.tokens.size(); ++i) {
    if (!holds(sample.tokens[i])) continue;
    const int64_t first = sample.tokens[i].position;
    while (i + 1 < sample.tokens.size() && holds(sample.tokens[i + 1]) &&
           sample.tokens[i + 1].position == sample.tokens[i].position + 1)
      ++i;
    text += fmt::format("{}{}", text.empty() ? "" : ",", first);
    if (sample.tokens[i].position > first) text += fmt::format("-{}", sample.tokens[i].position);
  }
  return text.empty() ? "none" : text;
}

bool is_reset(const ShownToken& token) { return token.reset; }
bool is_masked(const ShownToken& token) { return token.target == kNoToken; }

class Shown {
 public:
  Shown(const DataShowOptions& options, const Reading& reading)
      : options_(options),
        reading_(reading),
        shape_(options.rank < 0 ? MeshShape() : reading.config.mesh(options.ranks)),
        at_(options.rank < 0 ? MeshCoordinate() : coordinate_of(shape_, options.rank)),
        loader_(reading.config.data, reading.config.train, reading.config.model.vocab_size, reading.config.run.seed,
                shape_, at_, segments()),
        tokenizer_(make_tokenizer(reading.config.data.tokenizer)) {
    loader_.set_order(reading.order);
    if (options.sample >= 0) {
      samples_ = {show_samples(loader_, options.sample, 0).front()};
      return;
    }
    for (int64_t micro_batch = 0; micro_batch < loader_.micro_batches(); ++micro_batch) {
      for (ShownSample& sample : show_samples(loader_, reading.done.samples, micro_batch))
        samples_.push_back(std::move(sample));
    }
  }

  void print() const {
    std::string head = options_.sample >= 0 ? "" : fmt::format("step={} first_sample={} ", options_.step, first());
    if (options_.rank >= 0) {
      head += fmt::format("rank={} ranks={} dp={} cp={} tp={} ", options_.rank, options_.ranks, at_.dp, at_.cp, at_.tp);
    }
    fmt::print("{}samples={} tokens={} predicted={} end_token={}\n", head, samples_.size(), tokens(), predicted(),
               loader_.end_token() ? std::to_string(*loader_.end_token()) : "none");
    for (const ShownSample& sample : samples_) print(sample);
  }

  ordered_json to_json() const {
    ordered_json json = {{"schema", 1}};
    if (options_.sample < 0) json.update({{"step", options_.step}, {"first_sample", first()}});
    if (options_.rank >= 0)
      json["rank"] = {
          {"rank", options_.rank}, {"ranks", options_.ranks}, {"dp", at_.dp}, {"cp", at_.cp}, {"tp", at_.tp}};
    json["tokens"] = tokens();
    json["predicted"] = predicted();
    json["end_token"] = loader_.end_token() ? ordered_json(*loader_.end_token()) : ordered_json(nullptr);
    json["samples"] = ordered_json::array();
    for (const ShownSample& sample : samples_) json["samples"].push_back(to_json(sample));
    return json;
  }

 private:
  int64_t first() const { return reading_.done.samples; }
  /// Into which cp cuts sequences, for the part of one rank. (Those that auto finds may be another device's.)
  int64_t segments() const {
    const Config& config = reading_.config;
    if (options_.rank < 0 || config.train.recompute != Recompute::kSegment) return 0;
    return segment_tokens(config, shape_, resolve_target(config, cuda_device_count() > 0, 1));
  }
  template <class Counts>
  int64_t count(const Counts& counts) const {
    int64_t count = 0;
    for (const ShownSample& sample : samples_) count += std::ranges::count_if(sample.tokens, counts);
    return count;
  }
  int64_t tokens() const {
    return count([](const ShownToken&) { return true; });
  }
  int64_t predicted() const {
    return count([](const ShownToken& token) { return !is_masked(token); });
  }
  std::string set_of(const ShownSample& sample) const { return loader_.set(sample.place.source).prefix(); }
  int64_t begin_of(const ShownSample& sample) const { return sample.place.window * loader_.seq_len(); }

  void print(const ShownSample& sample) const {
    fmt::print("\nsample={} set={} window={} epoch={} begin={} micro_batch={} sequence={} resets={} masked={}\n",
               sample.number, as_word(set_of(sample)), sample.place.window, sample.place.epoch, begin_of(sample),
               sample.micro_batch, sample.sequence, ranges(sample, is_reset), ranges(sample, is_masked));
    for (const Stretch& stretch : stretches_of(sample, loader_.end_token())) {
      fmt::print("{:>7} {:5} {:3} {}\n", stretch.position, stretch.reset ? "reset" : "",
                 stretch.ends_document ? "end" : "", dump(text_of(stretch.tokens, *tokenizer_)));
    }
  }

  ordered_json to_json(const ShownSample& sample) const {
    ordered_json json = {{"sample", sample.number},       {"set", set_of(sample)},
                         {"window", sample.place.window}, {"epoch", sample.place.epoch},
                         {"begin", begin_of(sample)},     {"micro_batch", sample.micro_batch},
                         {"sequence", sample.sequence}};
    for (const char* const list : {"positions", "tokens", "targets", "resets", "masked", "documents"})
      json[list] = ordered_json::array();
    for (const ShownToken& token : sample.tokens) {
      json["positions"].push_back(token.position);
      json["tokens"].push_back(token.token);
      json["targets"].push_back(token.target);
      if (is_reset(token)) json["resets"].push_back(token.position);
      if (is_masked(token)) json["masked"].push_back(token.position);
    }
    for (const Stretch& stretch : stretches_of(sample, loader_.end_token())) {
      json["documents"].push_back({{"position", stretch.position},
                                   {"reset", stretch.reset},
                                   {"end_token", stretch.ends_document},
                                   {"text", text_of(stretch.tokens, *tokenizer_)}});
    }
    return json;
  }

  const DataShowOptions& options_;
  const Reading& reading_;
  MeshShape shape_;
  MeshCoordinate at_;
  TrainLoader loader_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::vector<ShownSample> samples_;
};

}  // namespace

int data_show(const DataShowOptions& options) {
  const Reading reading = reading_of(options);
  if (options.rank >= 0 && !options.run.empty()) {
    const std::vector<ConfigProblem> problems = validate(reading.config, options.ranks);
    if (!problems.empty())
      throw Error(ErrorKind::kUsage,
                  concat("--ranks ", options.ranks, ": ", problems.front().key, ": ", problems.front().message));
  }
  const Shown shown(options, reading);
  if (options.json) {
    std::cout << dump(shown.to_json()) << "\n";
  } else {
    shown.print();
  }
  return 0;
}

}  // namespace retain
