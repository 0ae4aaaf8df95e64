#include "trainer/study/rules.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/trainer/study/small_study.h"

namespace retain::test {
namespace {

using study::hyperparameters;
using study::Hyperparameters;
using study::RuleInput;
using study::RuleKind;
using study::Rules;

Rules all_olmo() {
  const study::Rule olmo{.kind = RuleKind::kOlmoLadder};
  return {.batch_tokens = olmo, .lr = olmo, .beta2 = olmo, .warmup_tokens = olmo, .weight_decay = {}};
}

TEST(StudyRules, WithoutARuleTheBaseHolds) {
  const Config base = small_study().base;
  const Hyperparameters h = hyperparameters({}, {.params = 1e6, .tokens = 1e8, .hidden_size = 64}, base, 1);
  EXPECT_EQ(h.batch_tokens, 1024);
  EXPECT_EQ(h.micro_batch_tokens, 256);
  EXPECT_EQ(h.warmup_steps, 4);
  EXPECT_EQ(h.lr, base.optimizer.lr);
  EXPECT_EQ(h.beta2, base.optimizer.beta2);
  EXPECT_EQ(h.weight_decay, base.optimizer.weight_decay);
}

// The reference size of the ladder takes the reference values, and eight times its parameters four times the batch and
// half the rate.
TEST(StudyRules, OlmoLadderGivesItsOwnReferencePoints) {
  Config base = small_study().base;
  base.data.seq_len = 2048;
  base.train.micro_batch_tokens = int64_t{32} * 2048;
  const Hyperparameters reference = hyperparameters(all_olmo(), {.params = 108e6, .tokens = 2e9}, base, 1);
  EXPECT_EQ(reference.batch_tokens, 2048 * 160);
  EXPECT_DOUBLE_EQ(reference.lr, 0.00235);
  EXPECT_DOUBLE_EQ(reference.beta2, 0.99);
  EXPECT_EQ(reference.warmup_steps, std::llround(108e6 / (2048 * 160)));
  const Hyperparameters large = hyperparameters(all_olmo(), {.params = 8 * 108e6, .tokens = 2e9}, base, 1);
  EXPECT_EQ(large.batch_tokens, 4 * 2048 * 160);
  EXPECT_DOUBLE_EQ(large.lr, 0.001175);
  EXPECT_DOUBLE_EQ(large.beta2, 0.95);
}

TEST(StudyRules, APowerLawIsOfSizeAndTokensWithinItsBounds) {
  const Config base = small_study().base;
  Rules rules;
  rules.lr = {.kind = RuleKind::kPowerLaw, .coefficient = 2, .exponent_params = -0.5, .exponent_tokens = 0.25};
  const RuleInput input{.params = 1e6, .tokens = 1e4};
  EXPECT_DOUBLE_EQ(hyperparameters(rules, input, base, 1).lr, 0.02);
  rules.lr.max = 0.01;
  EXPECT_DOUBLE_EQ(hyperparameters(rules, input, base, 1).lr, 0.01);
  rules.lr = {.kind = RuleKind::kPowerLaw, .coefficient = 1.0 / 3};
  EXPECT_DOUBLE_EQ(hyperparameters(rules, input, base, 1).lr, 0.333333);
  EXPECT_TRUE(study::depends_on_tokens({.batch_tokens = {.kind = RuleKind::kPowerLines}}));
  EXPECT_FALSE(study::depends_on_tokens(all_olmo()));
}

TEST(StudyRules, PowerLinesScaleWhatWasMeasured) {
  const Config base = small_study().base;
  Rules rules;
  rules.batch_tokens = {.kind = RuleKind::kPowerLines, .at = 1e8, .value = 65'536};
  const auto batch = [&](double tokens) {
    return hyperparameters(rules, {.params = 1e6, .tokens = tokens}, base, 1).batch_tokens;
  };
  EXPECT_EQ(batch(1e8), 65'536);
  EXPECT_NEAR(static_cast<double>(batch(1e10)), 65'536 * std::pow(100, 0.383), 128);
  // At the decay that the law gives, B / (lr D decay) is 1.084 (D/N)^-0.527.
  rules = {.batch_tokens = {},
           .lr = {.kind = RuleKind::kPowerLaw, .coefficient = 1e-3},
           .beta2 = {},
           .warmup_tokens = {},
           .weight_decay = {.kind = RuleKind::kPowerLines}};
  const Hyperparameters h = hyperparameters(rules, {.params = 1e6, .tokens = 2e7}, base, 1);
  EXPECT_NEAR(1024 / (1e-3 * 2e7 * h.weight_decay), 1.084 * std::pow(20, -0.527), 1e-5);
  rules.weight_decay = {.kind = RuleKind::kSqrtWidth, .at = 128, .value = 0.1};
  EXPECT_DOUBLE_EQ(hyperparameters(rules, {.params = 1e6, .tokens = 2e7, .hidden_size = 512}, base, 1).weight_decay,
                   0.2);
}

// Every batch is one that validate() takes: whole micro-batches of whole sequences for each replica.
TEST(StudyRules, EveryBatchIsLegal) {
  const Config base = small_study().base;
  for (const int dp : {1, 2, 3, 8}) {
    for (double wanted = 1; wanted < 1e7; wanted *= 1.7) {
      const Rules rules{.batch_tokens = {.kind = RuleKind::kPowerLaw, .coefficient = wanted}};
      const Hyperparameters h = hyperparameters(rules, {.params = 1e6, .tokens = 1e8}, base, dp);
      ASSERT_EQ(h.micro_batch_tokens % base.data.seq_len, 0);
      ASSERT_EQ(h.batch_tokens % (h.micro_batch_tokens * dp), 0) << wanted;
      ASSERT_GE(h.batch_tokens, h.micro_batch_tokens * dp);
      const double unit = static_cast<double>(dp * (wanted < 256.0 * dp ? 32 : 256));
      ASSERT_LE(std::abs(static_cast<double>(h.batch_tokens) - wanted), unit) << wanted;
    }
  }
}

}  // namespace
}  // namespace retain::test
