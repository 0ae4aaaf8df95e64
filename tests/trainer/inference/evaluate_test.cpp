#include "trainer/inference/evaluate.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "tests/support/tiny_run.h"
#include "trainer/data/token_writer.h"
#include "trainer/model/one_rank_model.h"

namespace retain::test {
namespace {

constexpr int32_t kEnd = 256;
constexpr RetentionForm kForms[] = {RetentionForm::kParallel, RetentionForm::kChunkwise, RetentionForm::kRecurrent};
using Lists = std::vector<std::vector<int32_t>>;

/// A model with random weights in float64, and the losses of sets of tokens under it.
class Evaluate : public ::testing::Test {
 protected:
  Evaluate() { parameters_.initialize(5); }

  EvalResult evaluate(const Lists& documents, RetentionForm form = RetentionForm::kChunkwise) {
    TokenWriter writer(directory_.path() + "/set", config_.model.vocab_size);
    for (const auto& document : documents) {
      writer.append(document);
      writer.end_document();
    }
    writer.finish();
    OneRankModel alone(*backend_, parameters_, config_.model, DType::kFloat64,
                       {.sequences = 2, .tokens = config_.data.seq_len}, 8, Residency::kInference);
    const EvalWindows windows(TokenSet(directory_.path() + "/set"), config_.data, config_.model.vocab_size, 2,
                              alone.mesh().shape(), alone.mesh().at());
    return retain::evaluate(*backend_, alone.mesh(), alone.model(), windows, alone.batch(), form);
  }
  double nats(const Lists& documents, RetentionForm form = RetentionForm::kChunkwise) {
    const EvalResult result = evaluate(documents, form);
    return result.loss * static_cast<double>(result.tokens);
  }

  const TemporaryDirectory directory_;
  Config config_ = [] {
    Config config = tiny_config("");
    config.model.vocab_size = 384;
    config.data.seq_len = 40;
    return config;
  }();
  const std::unique_ptr<Backend> backend_ = make_cpu_backend(1);
  const ParameterLayout layout_{config_.model, 0, 1, 1};
  ParameterStore parameters_{*backend_, layout_, DType::kFloat64, ReplicaShare(), Residency::kInference};
};

TEST_F(Evaluate, ADocumentCostsInCompanyWhatItCostsAloneBehindAnEndToken) {
  const std::vector<int32_t> a = {'o', 'n', 'e', kEnd}, b = {'s', 'e', 'c', 'o', 'n', 'd', kEnd}, c = {'3', kEnd};
  const auto alone = [](std::vector<int32_t> document) {
    document.insert(document.begin(), kEnd);
    return Lists{document};
  };
  for (const RetentionForm form : kForms) {
    EXPECT_NEAR(nats({a, b, c}, form), nats({a}, form) + nats(alone(b), form) + nats(alone(c), form), 1e-9);
  }
  // Without end tokens the first token of each document is predicted by nothing.
  const Lists bare = {{'o', 'n', 'e'}, {'t', 'w', 'o', '2'}, {'3', '4'}};
  config_.data.end_of_document = kEndOfDocumentNone;
  for (const RetentionForm form : kForms) {
    EXPECT_NEAR(nats(bare, form), nats({bare[0]}, form) + nats({bare[1]}, form) + nats({bare[2]}, form), 1e-9);
  }
  EXPECT_EQ(evaluate(bare).tokens, 2 + 3 + 1);
}

TEST_F(Evaluate, TheThreeFormsAgreeOnDocumentsOfAllLengths) {
  Lists documents;
  for (int32_t i = 0; i < 60; ++i) {
    documents.emplace_back(1 + i % 19, 'a' + i % 7);
    if (i % 3 > 0) documents.back().push_back(kEnd);
  }
  const EvalResult want = evaluate(documents);
  for (const RetentionForm form : kForms) {
    const EvalResult got = evaluate(documents, form);
    EXPECT_EQ(got.tokens, want.tokens);
    EXPECT_NEAR(got.loss, want.loss, 1e-9);
  }
}

TEST_F(Evaluate, BitsPerByteCountTheBytesOfTheTextAndTheNatsOfAllTargets) {
  const EvalResult result = evaluate({{'a', 'b', 'c', kEnd}, {'d', kEnd}});
  EXPECT_EQ(result.tokens, 5);  // b c END d END, of which b, c and d are text
  ASSERT_TRUE(result.bits_per_byte.has_value());
  EXPECT_NEAR(*result.bits_per_byte, result.loss * 5 / (std::numbers::ln2 * 3), 1e-12);
  EXPECT_FALSE(evaluate({{'a', 'b', 300, 'c'}}).bits_per_byte.has_value());  // 300 is nobody's text
  EXPECT_TRUE(evaluate({{300, 'a', 'b', 'c'}}).bits_per_byte.has_value());   // and is no target here
  EXPECT_FALSE(evaluate({{kEnd, kEnd, kEnd}}).bits_per_byte.has_value());    // there is no text
}

TEST_F(Evaluate, NothingPredictedHasNoLoss) {
  const EvalResult result = evaluate({{'a'}, {'b'}, {'c'}});
  EXPECT_EQ(result.tokens, 0);
  EXPECT_TRUE(std::isnan(result.loss));
  EXPECT_TRUE(std::isnan(result.perplexity()));
  EXPECT_FALSE(result.bits_per_byte.has_value());
}

}  // namespace
}  // namespace retain::test
