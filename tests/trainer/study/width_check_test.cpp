#include "trainer/study/width_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/tiny_run.h"

namespace retain::test {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kSteps = 5;
const std::vector<int64_t> kWidths = {32, 64, 128};

WidthCheck check_widths(const std::string& directory, int64_t base_width) {
  Config config = tiny_config(directory);
  config.model.norm_eps = 1e-3;
  config.model.base_width = base_width;
  config.optimizer.lr = 1e-2;
  config.train.batch_tokens = config.train.micro_batch_tokens = 512;
  std::vector<std::vector<WidthQuantity>> measured;
  for (const int64_t width : kWidths) {
    const Config at = at_width(config, width, kSteps);
    const auto backend = make_cpu_backend(1);
    const auto mesh = make_single_mesh();
    Trainer trainer(*backend, *mesh, at, {.device = DeviceKind::kCpu, .compute = DType::kFloat32, .threads = 1});
    measured.push_back(measure_width(trainer, kSteps));
  }
  return judge_widths(config, kWidths, kSteps, measured);
}

double slope_of(const WidthCheck& check, const std::string& name, const std::string& of) {
  for (const WidthRow& row : check.rows)
    if (row.name == name && row.of == of) return row.slope;
  ADD_FAILURE() << name << " of " << of;
  return 0;
}

TEST(WidthCheck, FailsWithoutABaseWidthAndPassesWithOne) {
  const TemporaryDirectory directory;
  write_tiny_text(directory.path());
  const WidthCheck without = check_widths(directory.path(), 0), with = check_widths(directory.path(), 32);
  EXPECT_FALSE(without.holds());
  EXPECT_TRUE(with.holds());
  EXPECT_GT(slope_of(without, "change", "blocks"), 0.5);
  EXPECT_GT(slope_of(without, "change", "logits"), 0.3);
  EXPECT_NEAR(slope_of(without, "update", "FFN in"), 0, 0.2);
  EXPECT_NEAR(slope_of(with, "update", "FFN in"), -1, 0.1);
  EXPECT_NEAR(slope_of(with, "update", "embedding"), 0, 0.1);
  EXPECT_THAT(write_width_check(without), HasSubstr("FAIL: the change of blocks goes as width^"));
  EXPECT_THAT(write_width_check(without), HasSubstr("model.base_width: the hidden_size at which it was chosen"));
  EXPECT_THAT(write_width_check(with), HasSubstr("PASS: what 5 steps change does not depend on the width"));
}

TEST(WidthCheck, JudgesExponents) {
  const auto measured = [](double at_once, double later) {
    return std::vector<std::vector<WidthQuantity>>{{{"change", "blocks", at_once, true}, {"update", "head", 1}},
                                                   {{"change", "blocks", later, true}, {"update", "head", 4}}};
  };
  const WidthCheck check = judge_widths({}, {16, 64}, 3, measured(2, 8));
  EXPECT_DOUBLE_EQ(check.rows[0].slope, 1);
  EXPECT_FALSE(check.rows[0].holds);
  EXPECT_TRUE(check.rows[1].holds) << "is not judged";
  EXPECT_TRUE(judge_widths({}, {16, 64}, 3, measured(2, 2.5)).holds());
  EXPECT_FALSE(judge_widths({}, {16, 64}, 3, measured(2, 0.8)).holds()) << "what dies with the width";
  EXPECT_FALSE(judge_widths({}, {16, 64}, 3, measured(2, std::nan(""))).holds());
  const Figure figure = draw_width_check(check);
  EXPECT_THAT(figure.script, HasSubstr("set xtics (\"16\" 16, \"64\" 64)"));
  EXPECT_THAT(figure.data[0].second, HasSubstr("16 2\n64 8\n"));
}

TEST(WidthCheck, KeepsProportionsAndRefusesWhatIsNoModel) {
  Config config;
  config.data.train = {{"a", 1}};
  config.train = {.tokens = 1, .batch_tokens = 4096, .micro_batch_tokens = 2048};
  const Config at = at_width(config, 512, 7);
  EXPECT_EQ(at.model.heads, 2);
  EXPECT_EQ(at.model.key_dim(), config.model.key_dim());
  EXPECT_EQ(at.model.ffn_size, 704);
  EXPECT_EQ(at.steps(), 7);
  EXPECT_EQ(at.schedule.warmup_steps, 0);
  EXPECT_THROW(at_width(config, 513, 7), Error);
}

}  // namespace
}  // namespace retain::test
