// The learning rate, and clipping and decay as the step applies them.
#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/tiny_run.h"
#include "trainer/optimizer/schedule.h"

namespace retain::test {
namespace {

ScheduleConfig schedule(ScheduleKind kind, int64_t warmup, double final) {
  return {.kind = kind, .warmup_steps = warmup, .final = final, .decay_fraction = 0.2};
}

TEST(Schedule, WarmsUpLinearlyToTheFullRate) {
  for (const auto kind : {ScheduleKind::kLinear, ScheduleKind::kCosine, ScheduleKind::kWsd, ScheduleKind::kConstant}) {
    const ScheduleConfig s = schedule(kind, 4, 0.1);
    EXPECT_DOUBLE_EQ(learning_rate(s, 2.0, 100, 0), 0.5);
    EXPECT_DOUBLE_EQ(learning_rate(s, 2.0, 100, 3), 2.0);
    EXPECT_DOUBLE_EQ(learning_rate(s, 2.0, 100, 4), 2.0);
  }
}

TEST(Schedule, FallsInItsOwnShape) {
  EXPECT_DOUBLE_EQ(learning_rate(schedule(ScheduleKind::kLinear, 0, 0.0), 1.0, 100, 50), 0.5);
  EXPECT_NEAR(learning_rate(schedule(ScheduleKind::kLinear, 0, 0.0), 1.0, 100, 99), 0.01, 1e-15);
  EXPECT_DOUBLE_EQ(learning_rate(schedule(ScheduleKind::kCosine, 0, 0.2), 1.0, 100, 50), 0.6);
  EXPECT_NEAR(learning_rate(schedule(ScheduleKind::kCosine, 0, 0.2), 1.0, 100, 25),
              0.2 + 0.8 * 0.5 * (1 + std::sqrt(0.5)), 1e-12);
  EXPECT_FLOAT_EQ(learning_rate(schedule(ScheduleKind::kWsd, 0, 0.0), 1.0, 100, 79), 1.0);
  EXPECT_FLOAT_EQ(learning_rate(schedule(ScheduleKind::kWsd, 0, 0.0), 1.0, 100, 90), 0.5);
  EXPECT_DOUBLE_EQ(learning_rate(schedule(ScheduleKind::kConstant, 0, 0.0), 1.0, 100, 99), 1.0);
}

TEST(Schedule, NeverRisesAfterTheWarmUpAndNeverPassesTheFinalRate) {
  for (const auto kind : {ScheduleKind::kLinear, ScheduleKind::kCosine, ScheduleKind::kWsd}) {
    const ScheduleConfig s = schedule(kind, 7, 0.05);
    for (int64_t i = 8; i < 200; ++i) {
      EXPECT_LE(learning_rate(s, 1.0, 150, i), learning_rate(s, 1.0, 150, i - 1) + 1e-15);
      EXPECT_GE(learning_rate(s, 1.0, 150, i), 0.05 - 1e-15);
    }
  }
}

TEST(Schedule, DecimalFractionsOfARunAreWhatTheySay) {
  ScheduleConfig s = schedule(ScheduleKind::kWsd, 0, 0.0);
  for (int64_t steps : {100, 1000, 20000, 1'000'000}) {
    for (int64_t percent = 1; percent <= 100; ++percent) {
      s.decay_fraction = static_cast<double>(percent) / 100;  // as written: 0.55
      EXPECT_EQ(wsd_decay_steps(s, steps), percent * steps / 100) << percent << " % of " << steps;
    }
  }
  s.decay_fraction = 0.501;
  EXPECT_EQ(wsd_decay_steps(s, 100), 51);  // rounded up
}

TEST(Schedule, AWsdRunAlwaysDecaysHoweverShort) {
  ScheduleConfig s = schedule(ScheduleKind::kWsd, 0, 0.0);
  s.decay_fraction = 0.001;
  EXPECT_EQ(wsd_decay_steps(s, 40), 1);
  EXPECT_DOUBLE_EQ(learning_rate(s, 1.0, 40, 38), 1.0);
  s.decay_fraction = 0.05;
  EXPECT_DOUBLE_EQ(learning_rate(s, 1.0, 40, 39), 0.5);
}

TEST(Schedule, IsReadAtTheTokensInStepsOfThePresentBatch) {
  Config config;
  config.optimizer.lr = 2;
  config.schedule = schedule(ScheduleKind::kLinear, 4, 0.1);
  config.train.batch_tokens = 3'000'000'000'000'001;  // products of it have no exact double
  config.train.tokens = 150 * config.train.batch_tokens;
  for (int64_t step = 0; step < 150; ++step) {
    EXPECT_EQ(learning_rate(config, step * config.train.batch_tokens),
              learning_rate(config.schedule, 2.0, 150, static_cast<double>(step)));
  }
  config.train = {.tokens = 1000, .batch_tokens = 100};
  EXPECT_DOUBLE_EQ(learning_rate(config, 150), 2.0 * 2.5 / 4);
  EXPECT_DOUBLE_EQ(learning_rate(config, 350), 2.0);
  EXPECT_DOUBLE_EQ(learning_rate(config, 750), 2.0 * (0.1 + 0.9 * 2.5 / 6));
}

TEST(Step, DecayLeavesNormWeightsAlone) {
  const TemporaryDirectory directory;
  write_tiny_text(directory.path());
  Config config = tiny_config(directory.path());
  config.optimizer.lr = 1e-12;  // gradients move nothing
  config.optimizer.weight_decay = 1e11;
  config.schedule.warmup_steps = 0;
  const auto trained = train_tiny(config, DType::kFloat64, 1, make_self_communicator());
  config.optimizer.weight_decay = 0;
  const auto kept = train_tiny(config, DType::kFloat64, 1, make_self_communicator());
  const ParameterLayout layout(config.model, 0, 1, 1);
  for (size_t p = 0; p < layout.parameters.size(); ++p) {
    const double factor = layout.parameters[p].rank == 2 ? 0.9 : 1.0;
    for (size_t i = 0; i < kept.weights[p].size(); ++i) {
      EXPECT_NEAR(trained.weights[p][i], factor * kept.weights[p][i], 1e-9) << layout.parameters[p].name;
    }
  }
}

TEST(Step, ClippingKeepsTheDirectionAndReportsTheWholeNorm) {
  const TemporaryDirectory directory;
  write_tiny_text(directory.path());
  Config config = tiny_config(directory.path());
  config.optimizer.clip = 1e-3;
  const auto clipped = train_tiny(config, DType::kFloat64, 3, make_self_communicator());
  config.optimizer.clip = 0;
  const auto free_run = train_tiny(config, DType::kFloat64, 3, make_self_communicator());
  EXPECT_DOUBLE_EQ(clipped.grad_norms[0], free_run.grad_norms[0]);
  EXPECT_GT(clipped.grad_norms[0], 0.1);
  double sum = 0;
  for (const auto& gradient : free_run.first_gradients) {
    for (const double g : gradient) sum += g * g;
  }
  EXPECT_NEAR(std::sqrt(sum), free_run.grad_norms[0], 1e-9);
}

TEST(Step, AccumulatedMicroBatchesAreOneBatch) {
  const TemporaryDirectory directory;
  write_tiny_text(directory.path());
  Config config = tiny_config(directory.path());
  const auto four = train_tiny(config, DType::kFloat64, 5, make_self_communicator());
  config.train.micro_batch_tokens = 256;
  const auto one = train_tiny(config, DType::kFloat64, 5, make_self_communicator());
  for (size_t i = 0; i < one.losses.size(); ++i) EXPECT_NEAR(four.losses[i], one.losses[i], 1e-9);
}

}  // namespace
}  // namespace retain::test
