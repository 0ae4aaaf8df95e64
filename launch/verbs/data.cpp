// retain data prepare, train-tokenizer and info: text to sets of tokens, and what a set holds.
#include <fmt/core.h>

#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "kernels/core/processors.h"
#include "kernels/core/text.h"
#include "launch/verbs/verbs.h"
#include "trainer/data/prepare.h"
#include "trainer/data/train_tokenizer.h"
#include "trainer/run/log.h"
#include "trainer/run/progress_bar.h"
#include "trainer/run/short_text.h"

namespace retain {
namespace {

using nlohmann::ordered_json;

/// JSON text whatever the bytes are: a terminal and a reader of JSON see neither control bytes nor broken UTF-8.
std::string dump(const ordered_json& json, int indent) {
  return json.dump(indent, ' ', false, ordered_json::error_handler_t::replace);
}

ordered_json to_json(const TokenSetDescription& set) {
  ordered_json json = {{"path", set.prefix},
                       {"tokens", set.tokens},
                       {"documents", set.documents},
                       {"format", token_format_name(set.format)},
                       {"shards", set.shards},
                       {"type", token_type_name(set.type)},
                       {"bytes", set.bytes},
                       {"smallest_token", set.smallest_token},
                       {"largest_token", set.largest_token},
                       {"fingerprint", fmt::format("{:016x}", set.fingerprint)}};
  if (set.origin) {
    json["tokenizer"] = set.origin->tokenizer;
    json["tokenizer_fingerprint"] = set.origin->fingerprint;
  }
  json["beginning"] = set.beginning;
  return json;
}

/// On stderr what a preparation says, and how far it is.
class PreparationShown {
 public:
  explicit PreparationShown(bool bar) : bar_(log_, {.bar = bar}) {}

  void say(const std::string& line) { log_.info(line); }
  void at(const PrepareProgress& now) {
    if (!work_) {
      work_.emplace(bar_,
                    WorkState{.what = "preparing", .unit = "bytes", .done = now.read_bytes, .total = now.total_bytes});
    }
    work_->at(now.read_bytes, fmt::format("{} tokens", short_number(static_cast<double>(now.tokens))));
  }

 private:
  Log log_{LogOptions{}};
  ProgressBar bar_;
  std::optional<ProgressBar::Work> work_;
};

PrepareSummary prepare_shown(const DataPrepareOptions& options) {
  const int64_t threads = options.threads > 0 ? options.threads : threads_of_rank(read_processor_limits(), 1);
  PreparationShown shown(!options.no_progress);
  return prepare_tokens(options.inputs, options.out, *make_tokenizer(options.tokenizer),
                        {.holdout_fraction = options.holdout,
                         .text_key = options.text_key,
                         .encoding = options.encoding,
                         .skip_bad = options.skip_bad,
                         .threads = static_cast<int>(threads),
                         .say = [&](const std::string& line) { shown.say(line); },
                         .progress = [&](const PrepareProgress& now) { shown.at(now); }});
}

/// What was left out and where, on stderr.
void report(const LeftOut& left_out, const std::string& what) {
  if (left_out.count == 0) return;
  std::string first;
  for (const std::string& place : left_out.first) first += "\n  " + place;
  const auto others = left_out.count - static_cast<int64_t>(left_out.first.size());
  if (others > 0) first += fmt::format("\n  and {} more", others);
  fmt::print(stderr, "retain: {} {} left out:{}\n", left_out.count, what, first);
}

}  // namespace

int data_prepare(const DataPrepareOptions& options) {
  const PrepareSummary summary = prepare_shown(options);
  report(summary.empty_documents, "empty documents");
  report(summary.bad_lines, "lines and files that cannot be used");
  if (summary.document_cut && summary.sets[0].documents > 1)
    fmt::print(stderr, "retain: no document begins near the held-out part: it begins inside of one\n");
  for (const PreparedSet& set : summary.sets) {
    fmt::print("set={} tokens={} documents={}\n", as_word(set.prefix), set.tokens, set.documents);
  }
  return 0;
}

int data_train_tokenizer(const DataTrainTokenizerOptions& options) {
  const TrainedTokenizer trained = train_tokenizer(options.inputs, options.out,
                                                   {.vocab_size = options.vocab_size,
                                                    .sample_bytes = options.sample_bytes,
                                                    .text_key = options.text_key,
                                                    .encoding = options.encoding,
                                                    .skip_bad = options.skip_bad});
  report(trained.unusable, "lines and files that cannot be used");
  const auto tokenizer = make_tokenizer(trained.path);
  fmt::print("tokenizer={} tokens={} end_of_document={} fingerprint={} text_bytes={} sampled_bytes={}\n",
             as_word(trained.path), tokenizer->vocab_size(), tokenizer->end_of_document(), tokenizer->fingerprint(),
             trained.text_bytes, trained.sampled_bytes);
  return 0;
}

int data_info(const DataInfoOptions& options) {
  const auto tokenizer = make_tokenizer(options.tokenizer);
  ordered_json sets = ordered_json::array();
  for (const std::string& path : options.paths) sets.push_back(to_json(describe(TokenSet(path), *tokenizer)));
  if (options.json) {
    std::cout << dump({{"schema", 1}, {"sets", sets}}, 2) << "\n";
    return 0;
  }
  for (const ordered_json& set : sets) {
    std::string line;
    for (const auto& [key, value] : set.items()) {
      const bool bare = value.is_string() && key != "beginning";
      line += fmt::format("{}{}={}", line.empty() ? "" : " ", key,
                          bare ? as_word(value.get<std::string>()) : dump(value, -1));
    }
    std::cout << line << "\n";
  }
  return 0;
}

}  // namespace retain
