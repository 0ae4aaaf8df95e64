#include "launch/serve/completions.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "trainer/data/tokenizer/sentence_pieces.h"

namespace retain {
namespace {

using ::testing::HasSubstr;

class CompletionsTest : public ::testing::Test {
 protected:
  CompletionRequest parse(const std::string& body) const { return parse_completion(body, model_); }
  /// The key that is refused, and the message.
  std::string refusal(const std::string& body) const {
    try {
      parse(body);
    } catch (const ApiError& error) {
      EXPECT_EQ(error.status(), 400);
      return error.param() + ": " + error.what();
    }
    return "";
  }

  const std::unique_ptr<Tokenizer> tokenizer_ = make_byte_tokenizer();
  const ServedModel model_{
      .name = "demo", .tokenizer = *tokenizer_, .vocab_size = 260, .end_token = 256, .most_tokens = 100};
};

TEST_F(CompletionsTest, ReadsPromptsOfEveryForm) {
  const auto prompts = [&](const std::string& value) {
    std::vector<std::vector<int32_t>> all;
    for (const auto& prompt : parse(R"({"prompt": )" + value + "}").prompts) all.push_back(prompt.tokens);
    return all;
  };
  using Lists = std::vector<std::vector<int32_t>>;
  EXPECT_EQ(prompts(R"("ab")"), (Lists{{97, 98}}));
  EXPECT_EQ(prompts(R"(["ab", "c"])"), (Lists{{97, 98}, {99}}));
  EXPECT_EQ(prompts("[97, 98]"), (Lists{{97, 98}}));
  EXPECT_EQ(prompts("[[97], [98, 259]]"), (Lists{{97}, {98, 259}}));
  EXPECT_EQ(prompts(R"("")"), (Lists{{256}})) << "a document begins";
  EXPECT_EQ(prompts("null"), (Lists{{256}}));
  EXPECT_EQ(prompts("[]"), (Lists{{256}}));
  EXPECT_EQ(parse(R"({"prompt": [256, 97, 259, 98]})").prompts[0].text, "ab") << "of the tokens that have a text";
  EXPECT_THAT(refusal(R"({"prompt": [97, 260]})"), HasSubstr("prompt: prompt has '260', which is no token (0 to 259)"));
  for (const char* wrong :
       {"[1.5]", "[true]", "[[97], 98]", "[97, \"a\"]", "{}", "7", "[-1]", "[18446744073709551615]"})
    EXPECT_THAT(refusal(std::string(R"({"prompt": )") + wrong + "}"), HasSubstr("prompt: ")) << wrong;
}

TEST_F(CompletionsTest, ReadsOptionsAndRefusesWhatItDoesNotKnow) {
  const CompletionRequest request = parse(
      R"({"model": "any", "prompt": "a", "max_tokens": 7, "temperature": 0.5, "top_p": 0.9, "top_k": 40, "min_p": 0.1,
          "repetition_penalty": 1.2, "n": 2, "best_of": 2, "seed": 5, "stop": ["x", "yz"], "echo": true, "logprobs": 3,
          "stream": true, "stream_options": {"include_usage": true}, "user": "me", "suffix": null, "logit_bias": {},
          "presence_penalty": 0, "frequency_penalty": 0.0})");
  EXPECT_EQ(request.max_tokens, 7);
  EXPECT_EQ(request.sampling,
            (SamplingOptions{
                .temperature = 0.5, .top_k = 40, .top_p = 0.9, .min_p = 0.1, .repetition_penalty = 1.2, .seed = 5}));
  EXPECT_EQ(request.choices, 2);
  EXPECT_EQ(request.stops, (std::vector<std::string>{"x", "yz"}));
  EXPECT_EQ(request.logprobs, 3);
  EXPECT_TRUE(request.echo && request.stream && request.stream_usage);
  const CompletionRequest plain = parse(R"({"stop": "x", "top_k": -1})");
  EXPECT_EQ(plain.stops, std::vector<std::string>{"x"});
  EXPECT_EQ(plain.sampling.top_k, 0);
  EXPECT_EQ(plain.max_tokens, 16);
  EXPECT_EQ(plain.logprobs, -1);
  EXPECT_NE(plain.sampling.seed, parse("{}").sampling.seed) << "without a seed each draws anew";

  EXPECT_EQ(refusal(R"({"max_tokens": 101})"), "max_tokens: max_tokens is to be a whole number from 0 to 100");
  EXPECT_EQ(refusal(R"({"colour": 1})"), "colour: unknown key 'colour'");
  for (const char* wrong :
       {R"("temperature": -0.1)", R"("temperature": "hot")", R"("top_p": 2)", R"("n": 0)", R"("n": 1e3)",
        R"("best_of": 2)", R"("stop": [1])", R"("stop": "")", R"("echo": 1)", R"("logprobs": -1)", R"("suffix": "x")",
        R"("logit_bias": {"5": 1})", R"("presence_penalty": 1)", R"("seed": 1.5)", R"("stream_options": 1)",
        R"("n": 99999999999999999999)"})
    EXPECT_THAT(refusal(std::string("{") + wrong + "}"), HasSubstr(" is ")) << wrong;
  for (const char* wrong : {"", "[", "[]", "7", R"({"n": 1, "n": 1})", "{\"prompt\": \"\xff\"}"})
    EXPECT_NE(refusal(wrong), "") << wrong;
  std::string many = R"({"n": 128, "prompt": [)";
  for (int i = 0; i < 17; ++i) many += R"("a",)";
  many.back() = ']';
  EXPECT_THAT(refusal(many + "}"), HasSubstr("2048 prompts times n"));
}

TEST_F(CompletionsTest, RefusesMoreThanAnAnswerCanHold) {
  const std::string four = R"({"prompt": ["a", "a", "a", "a"], "n": 128, "max_tokens": )";
  EXPECT_EQ(refusal(four + R"(81, "logprobs": 100})").substr(0, 50), "");
  EXPECT_THAT(refusal(four + R"(82, "logprobs": 100})"),
              HasSubstr("max_tokens: an answer may have 4194304 tokens, the likeliest of each place among them; 328 "));
  EXPECT_EQ(refusal(four + "100}"), "");
  const std::string echoes = R"({"n": 128, "max_tokens": 0, "logprobs": 100, "prompt": ")" + std::string(400, 'a');
  EXPECT_EQ(refusal(echoes + "\"}"), "");
  EXPECT_THAT(refusal(echoes + R"(", "echo": true})"), HasSubstr("are 5171200"));
  const ServedModel generous{
      .name = "demo", .tokenizer = *tokenizer_, .vocab_size = 260, .end_token = 256, .most_tokens = 1 << 30};
  EXPECT_EQ(parse_completion(R"({"max_tokens": 1000000000})", generous).max_tokens, 1'000'000'000);
  EXPECT_THROW(parse_completion(R"({"max_tokens": 1000000000, "n": 2})", generous), ApiError);
}

TEST_F(CompletionsTest, TokensKeepTheBlankThatSentencePieceDropsAtTheBeginningOfATextAlone) {
  if (!have_sentence_pieces()) GTEST_SKIP() << "this build has no SentencePiece";
  const auto lines = [left = 400]() mutable -> std::optional<std::string> {
    if (left-- == 0) return std::nullopt;
    return "the a is of the keys " + std::to_string(left);
  };
  std::string trained = train_sentence_pieces(lines, 296);
  // As most models have it: add_dummy_prefix true, the third field of its normalizer, before the fourth.
  const size_t field = trained.rfind(std::string("\x18\x00\x20\x00", 4));
  ASSERT_NE(field, std::string::npos);
  trained[field + 1] = 1;
  const auto pieces =
      make_tokenizer({.kind = TokenizerFiles::Kind::kSentencePieces, .files = {{"tokenizer.model", trained}}});
  const ServedModel model{.name = "demo",
                          .tokenizer = *pieces,
                          .vocab_size = pieces->vocab_size(),
                          .end_token = std::nullopt,
                          .most_tokens = 100};
  const CompletionRequest request = parse_completion(R"({"prompt": "the a the is", "logprobs": 1})", model);
  const std::vector<int32_t> tokens = request.prompts[0].tokens;
  ASSERT_EQ(tokens.size(), 4U);
  const CompletionFormat format(model, request, "id", 5);
  ChoicePart part{.tokens = tokens, .scored = std::vector<Decoder::Scored>(4, {-1, {{tokens[2], -1}}})};
  const auto logprobs = [&] { return format.chunk(part)["choices"][0]["logprobs"]; };
  part.begins = true;
  EXPECT_EQ(logprobs()["tokens"], Json({"the", " a", " the", " is"}));
  EXPECT_EQ(logprobs()["text_offset"], Json({0, 3, 5, 9}));
  EXPECT_EQ(logprobs()["top_logprobs"][1], Json::parse(R"({" the": -1.0})"));
  part.begins = false;
  part.text_offset = 7;
  EXPECT_EQ(logprobs()["tokens"], Json({" the", " a", " the", " is"}));
  EXPECT_EQ(logprobs()["text_offset"], Json({7, 11, 13, 17}));
  EXPECT_EQ(characters_of(tokens, true, model), 12);
  EXPECT_EQ(characters_of(tokens, false, model), 13);
}

TEST_F(CompletionsTest, WritesTokensTheirProbabilitiesAndNames) {
  CompletionRequest request = parse(R"({"prompt": "a", "logprobs": 2})");
  const CompletionFormat format(model_, request, "id", 5);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const ChoicePart part{.index = 1,
                        .text = "aé",
                        .tokens = {97, 0xc3, 0xa9, 256, 258},
                        .scored = {{nan, {}}, {-1, {{97, -1}, {98, -2}}}, {-2, {}}, {-3, {{256, -3}}}, {-4, {}}},
                        .finish_reason = "stop"};
  const Json json = format.whole({part}, 4);
  EXPECT_EQ(json["usage"], Json::parse(R"({"prompt_tokens": 1, "completion_tokens": 4, "total_tokens": 5})"));
  EXPECT_EQ(json["choices"][0]["logprobs"],
            Json::parse(R"({"tokens": ["a", "bytes:\\xc3", "bytes:\\xa9", "<|endoftext|>", "<|258|>"],
                            "token_logprobs": [null, -1.0, -2.0, -3.0, -4.0],
                            "top_logprobs": [null, {"a": -1.0, "b": -2.0}, {}, {"<|endoftext|>": -3.0}, {}],
                            "text_offset": [0, 1, 2, 2, 2]})"));
  EXPECT_EQ(json["choices"][0]["finish_reason"], "stop");
  request.logprobs = -1;
  EXPECT_TRUE(format.chunk(part)["choices"][0]["logprobs"].is_null());
  EXPECT_EQ(dump({{"text", "a\xff"}}), "{\"text\":\"a\xef\xbf\xbd\"}");
}

TEST_F(CompletionsTest, TellsTheHarnessOfItsTokenizer) {
  EXPECT_EQ(tokenizer_info(model_)["eos_token"], kEndTokenName);
  EXPECT_EQ(tokenize(R"({"prompt": "<|endoftext|>", "add_special_tokens": false})", model_)["tokens"], Json({256}));
  EXPECT_EQ(tokenize(R"({"prompt": "ab"})", model_)["tokens"], Json({97, 98}));
  EXPECT_EQ(detokenize(R"({"tokens": [97, 256, 98]})", model_)["prompt"], "ab");
  EXPECT_THROW(tokenize(R"({"prompt": 1})", model_), ApiError);
  EXPECT_THROW(detokenize(R"({"tokens": [999]})", model_), ApiError);
}

}  // namespace
}  // namespace retain
