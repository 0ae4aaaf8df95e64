// What OpenAI's /v1/completions asks and gets, as JSON and as values; and what vLLM's /tokenize, /detokenize and
// /tokenizer_info ask and get, with which lm-evaluation-harness needs no tokenizer of its own. Pure.
// Source: platform.openai.com/docs/api-reference/completions, docs.vllm.ai (online serving), the harness's
// lm_eval/models/openai_completions.py and lm_eval/utils.py of 0.4.13.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "trainer/data/tokenizer/tokenizer.h"
#include "trainer/inference/decoder.h"
#include "trainer/inference/engine.h"

namespace retain {

using Json = nlohmann::ordered_json;

/// A request that is refused: what OpenAI's clients are told.
class ApiError : public std::runtime_error {
 public:
  ApiError(int status, const std::string& message, std::string param = "")
      : std::runtime_error(message), status_(status), param_(std::move(param)) {}
  int status() const { return status_; }
  const std::string& param() const { return param_; }

 private:
  int status_;
  std::string param_;
};

/// {"error": {"message", "type", "param", "code"}}
Json error_json(int status, const std::string& message, const std::string& param = "");
/// The text of JSON; what is no UTF-8 becomes U+FFFD.
std::string dump(const Json& json);

/// What answers depend on of the model.
struct ServedModel {
  std::string name;
  const Tokenizer& tokenizer;
  int64_t vocab_size;
  std::optional<int32_t> end_token;               ///< with which documents begin and end
  int64_t most_tokens;                            ///< that a request may ask for
  int32_t before = tokenizer.encode("a").back();  ///< a token with a text, behind which others have theirs
};
/// How the token that ends documents is written where tokens have names.
inline constexpr const char* kEndTokenName = "<|endoftext|>";

struct CompletionRequest {
  struct Prompt {
    std::vector<int32_t> tokens;
    std::string text;
  };
  std::vector<Prompt> prompts;
  int64_t choices = 1;  ///< of each prompt
  int64_t max_tokens = 16;
  SamplingOptions sampling;
  std::vector<std::string> stops;
  int logprobs = -1;  ///< the likeliest tokens to be told of each place; -1: nothing of probabilities
  bool echo = false, stream = false, stream_usage = false;
};

/// Throws ApiError(400) that names the key. Without a seed each request draws anew.
CompletionRequest parse_completion(std::string_view body, const ServedModel& model);

/// What is known of one choice by now, or of a part of it.
struct ChoicePart {
  int64_t index = 0;
  std::string text = {};
  std::vector<int32_t> tokens = {};
  std::vector<Decoder::Scored> scored = {};  ///< as many as tokens
  int64_t text_offset = 0;                   ///< characters before `tokens`
  bool begins = false;                       ///< no text comes before that of `tokens`, told or not
  std::string finish_reason = {};            ///< "stop", "length", or "" while there is more
};

/// Of the text of tokens; `begins`: no text comes before it.
int64_t characters_of(std::span<const int32_t> tokens, bool begins, const ServedModel& model);

/// The objects of an answer, whole or streamed.
class CompletionFormat {
 public:
  CompletionFormat(const ServedModel& model, const CompletionRequest& request, std::string id, int64_t created)
      : model_(model), request_(request), id_(std::move(id)), created_(created) {}

  Json whole(const std::vector<ChoicePart>& choices, int64_t completion_tokens) const;
  Json chunk(const ChoicePart& part) const;
  Json last_chunk(int64_t completion_tokens) const;  ///< no choices, but the usage

 private:
  Json head() const;
  Json choice(const ChoicePart& part) const;
  Json logprobs(const ChoicePart& part) const;
  Json usage(int64_t completion_tokens) const;

  const ServedModel& model_;
  const CompletionRequest& request_;
  std::string id_;
  int64_t created_;
};

Json models_json(const ServedModel& model, int64_t created);
Json tokenizer_info(const ServedModel& model);
/// Bodies of /tokenize and /detokenize. Throw ApiError(400).
Json tokenize(std::string_view body, const ServedModel& model);
Json detokenize(std::string_view body, const ServedModel& model);

}  // namespace retain
