// retain data prepare, retain data info: text to sets of tokens, and what a set holds.
#include <fmt/core.h>

#include <iostream>
#include <nlohmann/json.hpp>

#include "kernels/core/text.h"
#include "launch/verbs/verbs.h"
#include "trainer/data/prepare.h"

namespace retain {
namespace {

using nlohmann::ordered_json;

/// JSON text whatever the bytes are: a terminal and a reader of JSON see neither control bytes nor broken UTF-8.
std::string dump(const ordered_json& json, int indent) {
  return json.dump(indent, ' ', false, ordered_json::error_handler_t::replace);
}

ordered_json to_json(const TokenSetDescription& set) {
  return {{"path", set.prefix},
          {"tokens", set.tokens},
          {"documents", set.documents},
          {"type", token_type_name(set.type)},
          {"bytes", set.bytes},
          {"smallest_token", set.smallest_token},
          {"largest_token", set.largest_token},
          {"fingerprint", fmt::format("{:016x}", set.fingerprint)},
          {"beginning", set.beginning}};
}

}  // namespace

int data_prepare(const DataPrepareOptions& options) {
  const PrepareSummary summary = prepare_tokens(options.inputs, options.out, *make_tokenizer(options.tokenizer),
                                                {.holdout_fraction = options.holdout, .text_key = options.text_key});
  for (const PreparedSet& set : summary.sets) {
    fmt::print("set={} tokens={} documents={}\n", as_word(set.prefix), set.tokens, set.documents);
  }
  return 0;
}

int data_info(const DataInfoOptions& options) {
  const auto tokenizer = make_tokenizer("bytes");
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
