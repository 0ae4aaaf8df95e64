#include "trainer/plan/layout_search.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

namespace retain::test {
namespace {

using ::testing::HasSubstr;

constexpr Target kH200{.device = DeviceKind::kCuda, .compute = DType::kBfloat16};

Config model_1b() {
  Config config;  // 24 layers of 2048
  config.data.train = {{.path = "text"}};
  config.train.tokens = 100'000'000'000;
  config.train.batch_tokens = 1 << 20;
  config.train.micro_batch_tokens = 1 << 14;
  return config;
}

LayoutSearch search(const Config& config, int gpus, int64_t memory_bytes = kH200.memory_bytes) {
  Target target = kH200;
  target.memory_bytes = memory_bytes;
  return search_layouts(config, {.gpus = gpus, .network_bytes_per_second = 50e9}, target, predicted_gpu("h200"));
}

TEST(LayoutSearch, RanksLegalLayoutsThatFitByTheirSpeed) {
  const Config config = model_1b();
  const LayoutSearch found = search(config, 8);
  ASSERT_FALSE(found.choices.empty());
  EXPECT_GE(found.legal, found.fitting);
  std::set<std::string> meshes;
  double last = found.choices.front().cost.tokens_per_second;
  for (const LayoutChoice& choice : found.choices) {
    EXPECT_TRUE(validate(choice.config, 8).empty());
    EXPECT_EQ(choice.mesh.ranks(), 8);
    EXPECT_LE(choice.needed_bytes, kH200.memory_bytes);
    EXPECT_EQ(choice.needed_bytes, make_plan(choice.config, 8, kH200).needed_bytes()) << "what `plan` would say of it";
    EXPECT_LE(choice.cost.tokens_per_second, last);
    last = choice.cost.tokens_per_second;
    meshes.insert(choice.mesh.describe());
  }
  EXPECT_EQ(meshes.size(), 10) << "of 1, 2, 4, 8: every tp with every cp that is left";
  EXPECT_EQ(found.choices.front().mesh.dp, 8) << "a model that fits one GPU is fastest as replicas";
  EXPECT_EQ(found.choices.front().config.train.recompute, Recompute::kNone);
}

TEST(LayoutSearch, CutsTheModelWhereOneGpuDoesNotHoldIt) {
  const LayoutSearch found = search(model_1b(), 8, int64_t{12} << 30);
  ASSERT_FALSE(found.choices.empty());
  EXPECT_GT(found.choices.front().mesh.tp, 1);
}

TEST(LayoutSearch, SaysWhatNeedsLeastWhereNothingFits) {
  const LayoutSearch found = search(model_1b(), 2, int64_t{1} << 30);
  EXPECT_TRUE(found.choices.empty());
  EXPECT_GT(found.legal, 0);
  EXPECT_GT(found.smallest.needed_bytes, int64_t{1} << 30);
}

TEST(LayoutSearch, SaysWhyNoneIsLegal) {
  Config config = model_1b();
  config.train.batch_tokens = 3000;
  try {
    search(config, 4);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kConfig);
    EXPECT_THAT(error.what(), HasSubstr("no layout is legal; train.batch_tokens"));
  }
}

TEST(LayoutSearch, NamesTheKeysThatDiffer) {
  const Config config = model_1b();
  LayoutChoice choice{.config = config, .mesh = config.mesh(4), .cost = {}};
  EXPECT_EQ(changes_of(choice, config), "");
  choice.config.parallel.tp = 2;
  choice.config.train.recompute = Recompute::kSelective;
  choice.config.train.micro_batch_tokens = 4096;
  EXPECT_EQ(changes_of(choice, config),
            "--set parallel.tp=2 --set train.recompute=selective --set train.micro_batch_tokens=4096");
}

}  // namespace
}  // namespace retain::test
