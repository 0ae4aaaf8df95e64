// Texts that are scored many at once, in company and in every form, beside each one read alone.
#include "trainer/inference/scored_texts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "tests/support/ranks.h"
#include "tests/support/tiny_run.h"
#include "trainer/inference/tasks.h"
#include "trainer/model/host_values.h"
#include "trainer/model/one_rank_model.h"

namespace retain::test {
namespace {

using testing::ElementsAre;

constexpr RetentionForm kForms[] = {RetentionForm::kParallel, RetentionForm::kChunkwise, RetentionForm::kRecurrent};

ModelConfig tiny_model() {
  ModelConfig model = tiny_config("").model;
  model.group_norm_eps = GroupNormEps::kRowsum;  // which counts from where a text begins
  return model;
}

/// One rank's part of a model with random weights in float64.
struct Rank {
  explicit Rank(Mesh& mesh_in)
      : mesh(mesh_in),
        layout(tiny_model(), mesh.at().tp, mesh.shape().tp, 1),
        parameters(*backend, layout, DType::kFloat64, ReplicaShare(), Residency::kInference) {
    parameters.initialize(5);
  }
  std::vector<TextScore> score(const std::vector<ScoredText>& texts, RetentionForm form, const BatchShape& shape) {
    MeshModel on(*backend, mesh, parameters, tiny_model(), DType::kFloat64, shape, 4, Residency::kInference);
    return score_texts(on, texts, form, true);
  }

  Mesh& mesh;
  const std::unique_ptr<Backend> backend = make_cpu_backend(1);
  const ParameterLayout layout;
  ParameterStore parameters;
};

/// Of each text alone: the log-softmax of the logits behind its tokens.
std::vector<TextScore> score_alone(const std::vector<ScoredText>& texts) {
  const std::unique_ptr<Mesh> mesh = make_single_mesh();
  Rank rank(*mesh);
  std::vector<TextScore> scores;
  for (const ScoredText& text : texts) {
    const auto count = static_cast<int64_t>(text.tokens.size());
    OneRankModel alone(*rank.backend, rank.parameters, tiny_model(), DType::kFloat64, {.sequences = 1, .tokens = count},
                       0, Residency::kInference);
    DeviceBatch batch = alone.batch();
    batch.document_start = {};
    rank.backend->upload(batch.tokens, text.tokens.data());
    alone.model().forward(batch, RetentionForm::kParallel);
    TextScore score;
    for (size_t i = text.first; i < text.tokens.size(); ++i) {
      const std::vector<double> logits = download_wide(
          *rank.backend,
          alone.model().logits(batch, static_cast<int64_t>(i) - 1, 1).slice(1, 0, tiny_model().vocab_size));
      const double sum = std::accumulate(logits.begin(), logits.end(), 0.0,
                                         [](double all, double logit) { return all + std::exp(logit); });
      const auto likeliest = std::max_element(logits.begin(), logits.end()) - logits.begin();
      score.log_likelihood += logits[static_cast<size_t>(text.tokens[i])] - std::log(sum);
      score.greedy = score.greedy && likeliest == text.tokens[i];
    }
    scores.push_back(score);
  }
  return scores;
}

/// Of lengths 2 to 40, scored from anywhere on; the last is what the model finds likeliest, so that one is greedy.
std::vector<ScoredText> make_texts() {
  std::vector<ScoredText> texts;
  for (int32_t i = 0; i < 23; ++i) {
    ScoredText text;
    for (int32_t t = 0; t < 2 + i * 17 % 39; ++t) text.tokens.push_back((i * 31 + t * 7) % 257);
    text.first = 1 + static_cast<size_t>(i) * 5 % (text.tokens.size() - 1);
    texts.push_back(text);
  }
  ScoredText greedy{.tokens = {7, 0}};
  for (greedy.tokens[1] = 0; !score_alone({greedy})[0].greedy; ++greedy.tokens[1]) {
  }
  texts.push_back(greedy);
  return texts;
}

void expect_scores(const std::vector<TextScore>& got, const std::vector<TextScore>& want) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i) {
    EXPECT_NEAR(got[i].log_likelihood, want[i].log_likelihood, 1e-9) << i;
    EXPECT_EQ(got[i].greedy, want[i].greedy) << i;
  }
}

TEST(ScoredTexts, AreWorthInCompanyWhatTheyAreAloneInEveryFormAndLayout) {
  const std::vector<ScoredText> texts = make_texts();
  const std::vector<TextScore> want = score_alone(texts);
  EXPECT_TRUE(want.back().greedy);
  on_every_group([&](Communicator& group) {
    for (const MeshShape& shape : meshes_of(group.size())) {
      if (tiny_model().heads % shape.tp != 0) continue;
      Mesh mesh(shape, group.split(0, group.rank()));
      Rank rank(mesh);
      for (const RetentionForm form : kForms) {
        SCOPED_TRACE(concat(shape.describe(), " form ", static_cast<int>(form)));
        // Sequences of 44 and 100 tokens, in segments that cut the texts, and what is chosen for them.
        const int64_t cp = shape.cp;
        for (const int64_t tokens : {4L, 50L}) {
          expect_scores(rank.score(texts, form,
                                   {.sequences = 3,
                                    .tokens = (tokens + cp - 1) / cp,
                                    .parts = cp,
                                    .segment_count = tokens == 4 ? 11 : 2}),
                        want);
        }
        expect_scores(rank.score(texts, form, shape_for(texts, shape)), want);
      }
    }
  });
}

TEST(ScoredTexts, ArePackedWithoutGapsTheLongestFirst) {
  const auto of_size = [](size_t size) { return ScoredText{.tokens = std::vector<int32_t>(size)}; };
  const std::vector<ScoredText> texts = {of_size(3), of_size(8), of_size(3), of_size(4), of_size(2)};
  const auto sequences = pack_texts(texts, 8);
  ASSERT_EQ(sequences.size(), 3U);
  EXPECT_EQ(sequences[0].at(0).text, 1U);
  EXPECT_EQ(sequences[1].at(0).text, 3U);
  EXPECT_EQ(sequences[1].at(1).text, 0U);
  EXPECT_EQ(sequences[1].at(1).begin, 4);
  EXPECT_EQ(sequences[2].at(1).text, 4U);
  // Nothing is too long: sequences are as long as the longest.
  const BatchShape shape = shape_for(std::vector{of_size(100'000), of_size(3)}, {.dp = 1, .cp = 3, .tp = 1});
  EXPECT_EQ(shape.sequences, 1);
  EXPECT_GE(shape.segment_count * shape.segment_tokens(), 100'003);
  EXPECT_LE(shape.segment_tokens(), 2050);
}

// By bytes: lm-evaluation-harness' _encode_pair.
TEST(ScoredTexts, BlanksAtTheEndOfAContextBelongToWhatFollows) {
  const auto bytes = make_byte_tokenizer();
  const ScoredText plain = encode_pair(*bytes, "ab", " c", 256);
  EXPECT_THAT(plain.tokens, ElementsAre('a', 'b', ' ', 'c'));
  EXPECT_EQ(plain.first, 2U);
  const ScoredText blanks = encode_pair(*bytes, "ab \n", " c", 256);
  EXPECT_THAT(blanks.tokens, ElementsAre('a', 'b', ' ', '\n', ' ', 'c'));
  EXPECT_EQ(blanks.first, 2U);
  for (const char* const context : {"", " "}) {
    const ScoredText empty = encode_pair(*bytes, context, "c", 256);
    EXPECT_EQ(empty.tokens.front(), 256);
    EXPECT_EQ(empty.tokens.back(), 'c');
    EXPECT_EQ(empty.first, 1U);
    EXPECT_THROW(encode_pair(*bytes, context, "c", std::nullopt), Error);
  }
}

TEST(ScoredTexts, OfFewerThanTwoTokensAreRefused) {
  const auto bytes = make_byte_tokenizer();
  EXPECT_THROW(encode_pair(*bytes, "a", "", 256), Error);  // nothing would be likelier than it
  EXPECT_THROW(encode_pair(*bytes, "", "", 256), Error);
  EXPECT_EQ(encode_pair(*bytes, "", "a", 256).tokens.size(), 2U);
  EXPECT_THROW(encode_documents(*bytes, {"", ""}, 256), Error);
  EXPECT_EQ(encode_documents(*bytes, {"", "a"}, 256).size(), 2U);
}

TEST(Tasks, ChoicesAreJudgedByLikelihoodAndByLength) {
  const std::vector<Question> questions = {
      {.context = "c", .choices = {"long one", "b"}, .label = 0},
      {.context = "c", .choices = {"\xc3\xa9\xc3\xa9\xc3\xa9", "abcd"}, .label = 0},
      {.context = "c", .choices = {"a", "b", "c"}, .label = 1}};
  const std::vector<TextScore> scores = {{-8.0}, {-2.0}, {-6.5}, {-8.0}, {-3.0}, {-1.0}, {-1.0}};
  const ChoicesResult result = judge_choices(questions, scores);
  EXPECT_EQ(result.questions, 3);
  EXPECT_DOUBLE_EQ(result.acc.value, 2.0 / 3);                          // of equal ones the first
  EXPECT_DOUBLE_EQ(result.acc_norm.value, 2.0 / 3);                     // é is one character …
  EXPECT_DOUBLE_EQ(result.acc_bytes.value, 1.0);                        // … and two bytes
  EXPECT_DOUBLE_EQ(result.acc.standard_error, std::sqrt(1.0 / 3 / 3));  // deviation √(1/3) of (1, 1, 0)
}

TEST(Tasks, WhatIsNoNumberIsNotJudged) {
  const std::vector<Question> questions = {{.context = "c", .choices = {"a", "b"}, .label = 0}};
  for (const double value : {std::nan(""), -std::numeric_limits<double>::infinity()}) {
    for (const std::vector<TextScore>& scores : {std::vector<TextScore>{{value}, {-1.0}}, {{-1.0}, {value}}}) {
      EXPECT_THROW(judge_choices(questions, scores), Error);
      EXPECT_THROW(judge_last_words(scores), Error);
    }
  }
}

TEST(Tasks, LastWordsAndDocuments) {
  const LastWordsResult words = judge_last_words(std::vector<TextScore>{{-1.0, true}, {-3.0, false}});
  EXPECT_DOUBLE_EQ(words.acc.value, 0.5);
  EXPECT_DOUBLE_EQ(words.acc.standard_error, 0.5);
  EXPECT_DOUBLE_EQ(words.perplexity.value, std::exp(2.0));
  EXPECT_DOUBLE_EQ(words.perplexity.standard_error, std::exp(2.0));

  const auto bytes = make_byte_tokenizer();
  const std::vector<std::string> texts = {"ab cd", "e"};
  const std::vector<ScoredText> encoded = encode_documents(*bytes, texts, 256);
  EXPECT_THAT(encoded[1].tokens, ElementsAre(256, 'e'));
  const DocumentsResult documents = judge_documents(texts, encoded, std::vector<TextScore>{{-5.0}, {-1.0}});
  EXPECT_EQ(documents.tokens, 6);
  EXPECT_EQ(documents.words, 3);
  EXPECT_EQ(documents.bytes, 6);
  EXPECT_DOUBLE_EQ(documents.word_perplexity(), std::exp(2.0));
  EXPECT_DOUBLE_EQ(documents.byte_perplexity(), std::exp(1.0));
  EXPECT_DOUBLE_EQ(documents.bits_per_byte(), 1 / std::log(2.0));
}

}  // namespace
}  // namespace retain::test
