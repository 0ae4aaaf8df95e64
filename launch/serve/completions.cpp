#include "launch/serve/completions.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <random>

#include "kernels/core/error.h"
#include "kernels/core/text.h"
#include "trainer/json.h"

namespace retain {

namespace {

// A request is a batch of so many sequences at most.
constexpr int64_t kMostSequences = 2048;
constexpr int64_t kMostChoices = 128;
constexpr int64_t kMostPromptTokens = int64_t{1} << 24;  // of all of them
// Tokens that are told, each with the likeliest of its place: about 150 bytes of an answer in the making each.
constexpr int64_t kMostToldTokens = int64_t{1} << 22;
constexpr size_t kMostStops = 64;
constexpr int kMostLogprobs = 100;

[[noreturn]] void refuse(const std::string& param, const std::string& message) { throw ApiError(400, message, param); }

/// The body, or ApiError.
nlohmann::json parse_body(std::string_view body) {
  try {
    nlohmann::json json = parse_strict_json(body, "");
    if (!json.is_object()) refuse("", "the body is to be a JSON object");
    return json;
  } catch (const Error& error) {
    refuse("", concat("the body is no JSON: ", error.what()));
  }
}

bool is_given(const nlohmann::json& json, const char* key) {
  const auto found = json.find(key);
  return found != json.end() && !found->is_null();
}

int64_t whole(const nlohmann::json& json, const char* key, int64_t least, int64_t most, int64_t otherwise) {
  if (!is_given(json, key)) return otherwise;
  const nlohmann::json& value = json.at(key);
  const bool fits = value.is_number_integer() &&
                    (!value.is_number_unsigned() || value.get<uint64_t>() <= std::numeric_limits<int64_t>::max()) &&
                    value.get<int64_t>() >= least && value.get<int64_t>() <= most;
  if (!fits) refuse(key, concat(key, " is to be a whole number from ", least, " to ", most));
  return value.get<int64_t>();
}

double real(const nlohmann::json& json, const char* key, double least, double most, double otherwise) {
  if (!is_given(json, key)) return otherwise;
  const nlohmann::json& value = json.at(key);
  if (!value.is_number() || !(value.get<double>() >= least && value.get<double>() <= most))
    refuse(key, concat(key, " is to be a number from ", least, " to ", most));
  return value.get<double>();
}

bool flag(const nlohmann::json& json, const char* key) {
  if (!is_given(json, key)) return false;
  if (!json.at(key).is_boolean()) refuse(key, concat(key, " is to be true or false"));
  return json.at(key).get<bool>();
}

void check_keys(const nlohmann::json& json) {
  constexpr std::array kKnown = {"model",
                                 "prompt",
                                 "max_tokens",
                                 "temperature",
                                 "top_p",
                                 "top_k",
                                 "min_p",
                                 "repetition_penalty",
                                 "n",
                                 "best_of",
                                 "seed",
                                 "stop",
                                 "echo",
                                 "logprobs",
                                 "stream",
                                 "stream_options",
                                 "user",
                                 "suffix",
                                 "presence_penalty",
                                 "frequency_penalty",
                                 "logit_bias"};
  for (const auto& [key, value] : json.items())
    if (std::ranges::find(kKnown, key) == kKnown.end()) refuse(key, concat("unknown key ", in_quotes(key)));
  for (const char* key : {"presence_penalty", "frequency_penalty"})
    if (real(json, key, -2, 2, 0) != 0) refuse(key, concat(key, " is not known here; repetition_penalty is"));
  for (const char* key : {"suffix", "logit_bias"})
    if (is_given(json, key) && !json.at(key).empty()) refuse(key, concat(key, " is not known here"));
}

std::vector<int32_t> read_tokens(const nlohmann::json& list, const char* key, int64_t vocab_size) {
  std::vector<int32_t> tokens;
  for (const nlohmann::json& value : list) {
    const bool token = value.is_number_unsigned() && value.get<uint64_t>() < static_cast<uint64_t>(vocab_size);
    if (!token)
      refuse(key, concat(key, " has ", in_quotes(dump(value)), ", which is no token (0 to ", vocab_size - 1, ")"));
    tokens.push_back(value.get<int32_t>());
  }
  return tokens;
}

/// Of the tokens that have one.
std::string text_of(std::vector<int32_t> tokens, const ServedModel& model) {
  std::erase_if(tokens, [&](int32_t token) { return !model.tokenizer.text_bytes(token); });
  return model.tokenizer.decode(tokens);
}

CompletionRequest::Prompt read_prompt(const nlohmann::json& value, const ServedModel& model) {
  CompletionRequest::Prompt prompt;
  if (value.is_string()) {
    prompt.text = value.get<std::string>();
    prompt.tokens = model.tokenizer.encode(prompt.text);
  } else if (value.is_array()) {
    prompt.tokens = read_tokens(value, "prompt", model.vocab_size);
    prompt.text = text_of(prompt.tokens, model);
  } else {
    refuse("prompt", "prompt is to be a text, a list of texts, a list of tokens, or a list of such lists");
  }
  if (prompt.tokens.empty() && !model.end_token)
    refuse("prompt", "prompt is empty, and no document of this model begins with a token");
  if (prompt.tokens.empty()) prompt.tokens.push_back(*model.end_token);
  return prompt;
}

void read_prompts(const nlohmann::json& json, const ServedModel& model, CompletionRequest& request) {
  static const nlohmann::json kEmpty = "";
  const nlohmann::json& value = is_given(json, "prompt") ? json.at("prompt") : kEmpty;
  const bool several = value.is_array() && !value.empty() && !value.front().is_number();
  if (several && std::ssize(value) * request.choices > kMostSequences)
    refuse("prompt", concat("one request may have ", kMostSequences, " prompts times n"));
  if (!several) {
    request.prompts.push_back(read_prompt(value, model));
    return;
  }
  for (const nlohmann::json& one : value) request.prompts.push_back(read_prompt(one, model));
}

void check_size(const CompletionRequest& request, int64_t most_tokens) {
  int64_t tokens = 0;
  for (const auto& prompt : request.prompts) tokens += std::ssize(prompt.tokens);
  if (tokens * request.choices > kMostPromptTokens)
    refuse("prompt", concat("one request may have ", kMostPromptTokens, " tokens in its prompts times n"));
  const int64_t of_each = request.choices * (1 + std::max(request.logprobs, 0));
  const int64_t of_all = (request.echo ? tokens : 0) + request.max_tokens * std::ssize(request.prompts);
  const int64_t most = std::max(kMostToldTokens, most_tokens);
  if (of_all * of_each > most)
    refuse("max_tokens",
           concat("an answer may have ", most, " tokens, the likeliest of each place among them; ", of_all,
                  " (max_tokens of each prompt, and what is echoed) times n times 1 + logprobs are ", of_all * of_each,
                  ": ask in several requests"));
}

std::vector<std::string> read_stops(const nlohmann::json& json) {
  if (!is_given(json, "stop")) return {};
  const nlohmann::json& value = json.at("stop");
  const nlohmann::json list = value.is_string() ? nlohmann::json::array({value}) : value;
  const auto fits = [](const nlohmann::json& one) {
    return one.is_string() && !one.get_ref<const std::string&>().empty();
  };
  if (!list.is_array() || list.size() > kMostStops || !std::ranges::all_of(list, fits))
    refuse("stop", concat("stop is to be a text, or a list of up to ", kMostStops, " of them, none empty"));
  return list.get<std::vector<std::string>>();
}

SamplingOptions read_sampling(const nlohmann::json& json) {
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
  SamplingOptions sampling{
      .temperature = real(json, "temperature", 0, 100, 1),
      .top_k = std::max<int64_t>(whole(json, "top_k", -1, kMost, 0), 0),
      .top_p = real(json, "top_p", 0, 1, 1),
      .min_p = real(json, "min_p", 0, 1, 0),
      .repetition_penalty = real(json, "repetition_penalty", 0.01, 100, 1),
      .seed = is_given(json, "seed") ? static_cast<uint64_t>(whole(json, "seed", -kMost, kMost, 0)) : 0};
  if (!is_given(json, "seed")) {
    std::random_device random;
    sampling.seed = (static_cast<uint64_t>(random()) << 32) | random();
  }
  return sampling;
}

bool is_utf8(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const size_t length = utf8_length(text, i);
    if (length == 0) return false;
    i += length;
  }
  return true;
}

/// A name that no other token has, whatever their texts.
std::string number_name(int32_t token) { return concat("<|", token, "|>"); }

/// Where a text begins, or behind another token: SentencePiece drops a blank with which a text begins.
std::string text_in_place(int32_t token, bool begins, const ServedModel& model) {
  if (!model.tokenizer.text_bytes(token)) return "";
  if (begins) return model.tokenizer.decode({&token, 1});
  const std::array<int32_t, 2> both{model.before, token};
  return model.tokenizer.decode(both).substr(model.tokenizer.decode({&model.before, 1}).size());
}

int64_t characters(std::string_view text) {
  return std::ranges::count_if(text, [](char byte) { return (static_cast<unsigned char>(byte) & 0xc0) != 0x80; });
}

/// Of a token, such that different bytes have different names.
std::string token_name(int32_t token, bool begins, const ServedModel& model) {
  if (token == model.end_token) return kEndTokenName;
  if (!model.tokenizer.text_bytes(token)) return number_name(token);
  const std::string text = text_in_place(token, begins, model);
  if (is_utf8(text)) return text;
  std::string bytes = "bytes:";
  for (const char byte : text) bytes += hex_escape(static_cast<unsigned char>(byte));
  return bytes;
}

Json number_or_null(float value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

}  // namespace

int64_t characters_of(std::span<const int32_t> tokens, bool begins, const ServedModel& model) {
  int64_t count = 0;
  for (const int32_t token : tokens) count += characters(text_in_place(token, begins && count == 0, model));
  return count;
}

std::string dump(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

Json error_json(int status, const std::string& message, const std::string& param) {
  const char* const type = status == 429   ? "rate_limit_error"
                           : status >= 500 ? "server_error"
                                           : "invalid_request_error";
  return {{"error",
           {{"message", message},
            {"type", type},
            {"param", param.empty() ? Json(nullptr) : Json(param)},
            {"code", status}}}};
}

CompletionRequest parse_completion(std::string_view body, const ServedModel& model) {
  const nlohmann::json json = parse_body(body);
  check_keys(json);
  CompletionRequest request;
  request.choices = whole(json, "n", 1, kMostChoices, 1);
  if (whole(json, "best_of", 1, kMostChoices, request.choices) != request.choices)
    refuse("best_of", "best_of is to be n: nothing is thrown away here");
  request.max_tokens = whole(json, "max_tokens", 0, model.most_tokens, 16);
  request.sampling = read_sampling(json);
  request.stops = read_stops(json);
  request.logprobs = static_cast<int>(whole(json, "logprobs", 0, kMostLogprobs, -1));
  request.echo = flag(json, "echo");
  request.stream = flag(json, "stream");
  if (is_given(json, "stream_options")) {
    if (!json.at("stream_options").is_object()) refuse("stream_options", "stream_options is to be an object");
    request.stream_usage = flag(json.at("stream_options"), "include_usage");
  }
  read_prompts(json, model, request);
  check_size(request, model.most_tokens);
  return request;
}

Json CompletionFormat::head() const {
  return {{"id", id_}, {"object", "text_completion"}, {"created", created_}, {"model", model_.name}};
}

Json CompletionFormat::usage(int64_t completion_tokens) const {
  int64_t prompt_tokens = 0;
  for (const auto& prompt : request_.prompts) prompt_tokens += std::ssize(prompt.tokens);
  return {{"prompt_tokens", prompt_tokens},
          {"completion_tokens", completion_tokens},
          {"total_tokens", prompt_tokens + completion_tokens}};
}

Json CompletionFormat::logprobs(const ChoicePart& part) const {
  if (request_.logprobs < 0) return nullptr;
  Json tokens = Json::array(), values = Json::array(), tops = Json::array(), offsets = Json::array();
  int64_t offset = part.text_offset;
  for (size_t i = 0; i < part.tokens.size(); ++i) {
    const bool begins = part.begins && offset == part.text_offset;
    const Decoder::Scored& scored = part.scored[i];
    tokens.push_back(token_name(part.tokens[i], begins, model_));
    values.push_back(number_or_null(scored.log_probability));
    offsets.push_back(offset);
    offset += characters(text_in_place(part.tokens[i], begins, model_));
    if (!std::isfinite(scored.log_probability)) {
      tops.push_back(nullptr);
      continue;
    }
    Json top = Json::object();
    for (const auto& [token, value] : scored.top)
      if (!top.emplace(token_name(token, begins, model_), number_or_null(value)).second)
        top.emplace(number_name(token), number_or_null(value));
    tops.push_back(std::move(top));
  }
  return {{"tokens", tokens}, {"token_logprobs", values}, {"top_logprobs", tops}, {"text_offset", offsets}};
}

Json CompletionFormat::choice(const ChoicePart& part) const {
  return {{"index", part.index},
          {"text", part.text},
          {"logprobs", logprobs(part)},
          {"finish_reason", part.finish_reason.empty() ? Json(nullptr) : Json(part.finish_reason)}};
}

Json CompletionFormat::whole(const std::vector<ChoicePart>& choices, int64_t completion_tokens) const {
  Json json = head();
  json["choices"] = Json::array();
  for (const ChoicePart& part : choices) json["choices"].push_back(choice(part));
  json["usage"] = usage(completion_tokens);
  return json;
}

Json CompletionFormat::chunk(const ChoicePart& part) const {
  Json json = head();
  json["choices"] = Json::array({choice(part)});
  return json;
}

Json CompletionFormat::last_chunk(int64_t completion_tokens) const {
  Json json = head();
  json["choices"] = Json::array();
  json["usage"] = usage(completion_tokens);
  return json;
}

Json models_json(const ServedModel& model, int64_t created) {
  Json one = {{"id", model.name}, {"object", "model"}, {"created", created}, {"owned_by", "retain"}};
  return {{"object", "list"}, {"data", Json::array({one})}};
}

Json tokenizer_info(const ServedModel& model) {
  const Json end = model.end_token ? Json(kEndTokenName) : Json(nullptr);
  return {{"tokenizer_class", std::string(model.tokenizer.name())},
          {"bos_token", end},
          {"eos_token", end},
          {"pad_token", nullptr},
          {"chat_template", nullptr}};
}

Json tokenize(std::string_view body, const ServedModel& model) {
  const nlohmann::json json = parse_body(body);
  if (!is_given(json, "prompt") || !json.at("prompt").is_string()) refuse("prompt", "prompt is to be a text");
  const auto& text = json.at("prompt").get_ref<const std::string&>();
  const bool is_end = model.end_token && text == kEndTokenName;
  const std::vector<int32_t> tokens = is_end ? std::vector{*model.end_token} : model.tokenizer.encode(text);
  return {{"count", std::ssize(tokens)}, {"tokens", tokens}};
}

Json detokenize(std::string_view body, const ServedModel& model) {
  const nlohmann::json json = parse_body(body);
  if (!is_given(json, "tokens") || !json.at("tokens").is_array()) refuse("tokens", "tokens is to be a list of tokens");
  return {{"prompt", text_of(read_tokens(json.at("tokens"), "tokens", model.vocab_size), model)}};
}

}  // namespace retain
