// A plan is what a run allocates, to the byte.
#include "trainer/plan/plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <limits>
#include <map>

#include "tests/support/tiny_run.h"
#include "trainer/checkpoint/trainer_state.h"

namespace retain::test {
namespace {

TEST(Plan, ListsEveryByteThatATrainerAllocates) {
  const TemporaryDirectory directory;
  write_tiny_text(directory.path());
  const Config config = tiny_config(directory.path());
  for (const DType compute : {DType::kFloat32, DType::kFloat64}) {
    const Target target{.device = DeviceKind::kCpu, .compute = compute, .threads = 1};
    const RunPlan plan = make_plan(config, 1, target);
    const auto backend = make_cpu_backend(1);
    const auto mesh = make_single_mesh();
    Trainer trainer(*backend, *mesh, config, target);
    EXPECT_EQ(backend->allocated_bytes(), plan.memory_bytes());
    EXPECT_EQ(HostState(*backend, trainer.parameters(), trainer.reducer().share()).bytes(), plan.save_bytes);
    const int64_t before = backend->allocated_bytes();
    trainer.step(0, {}, [] {});
    trainer.step(1, {}, [] {});
    EXPECT_EQ(backend->allocated_bytes(), before) << "nothing is allocated after the start";
  }
}

constexpr std::array kRecomputeLevels = {Recompute::kNone, Recompute::kSelective, Recompute::kFull};

TEST(Plan, ListsEveryByteAtEveryLevelOfRecompute) {
  const TemporaryDirectory directory;
  write_tiny_text(directory.path());
  Config config = tiny_config(directory.path());
  const Target target{.device = DeviceKind::kCpu, .compute = DType::kFloat32, .threads = 1};
  int64_t more = std::numeric_limits<int64_t>::max();
  for (const Recompute level : kRecomputeLevels) {
    config.train.recompute = level;
    const RunPlan plan = make_plan(config, 1, target);
    const auto backend = make_cpu_backend(1);
    const auto mesh = make_single_mesh();
    Trainer trainer(*backend, *mesh, config, target);
    trainer.step(0, {}, [] {});
    EXPECT_EQ(backend->allocated_bytes(), plan.memory_bytes());
    EXPECT_LT(plan.memory_bytes(), more);
    more = plan.memory_bytes();
  }
}

// Of the model with 1.4 billion parameters that the defaults are.
TEST(Plan, BytesOfActivationsATokenAtEveryLevelOfRecompute) {
  Config config = tiny_config("");
  config.model = {};
  config.data.seq_len = 2048;
  config.train.chunk = 0;
  const auto activations = [&](int64_t tokens) {
    config.train.batch_tokens = config.train.micro_batch_tokens = tokens;
    const RunPlan plan = make_plan(config, 1, {.device = DeviceKind::kCuda, .compute = DType::kBfloat16});
    const auto part = std::find_if(plan.memory.begin(), plan.memory.end(),
                                   [](const PlanPart& each) { return each.name == "activations"; });
    return part->bytes;
  };
  const std::map<Recompute, double> most_megabytes = {
      {Recompute::kNone, 2.04}, {Recompute::kSelective, 1.35}, {Recompute::kFull, 0.25}};
  for (const auto& [level, most] : most_megabytes) {
    config.train.recompute = level;
    const auto bytes = static_cast<double>(activations(32 * 1024) - activations(16 * 1024));
    EXPECT_LE(bytes / (16 * 1024) * 1e-6, most);
    EXPECT_GE(bytes / (16 * 1024) * 1e-6, 0.9 * most);
  }
}

TEST(Plan, ListsEveryByteOnAGpu) {
  if (cuda_device_count() == 0) GTEST_SKIP() << "no GPU";
  const TemporaryDirectory directory;
  write_tiny_text(directory.path());
  Config config = tiny_config(directory.path());
  config.device = DeviceKind::kCuda;
  config.train.chunk = 0;
  for (const DType compute : {DType::kFloat32, DType::kBfloat16}) {
    for (const Recompute level : kRecomputeLevels) {
      config.train.recompute = level;
      const Target target{.device = DeviceKind::kCuda, .compute = compute, .threads = 1};
      const RunPlan plan = make_plan(config, 1, target);
      const auto backend = make_cuda_backend(0);
      const auto mesh = make_single_mesh();
      Trainer trainer(*backend, *mesh, config, target);
      trainer.step(0, {}, [] {});
      EXPECT_EQ(backend->allocated_bytes(), plan.memory_bytes());
    }
  }
}

TEST(Plan, CountsExchangesByAxis) {
  const TemporaryDirectory directory;
  Config config = tiny_config(directory.path());
  const Target target{.device = DeviceKind::kCpu, .compute = DType::kFloat32, .threads = 1};
  EXPECT_TRUE(make_plan(config, 1, target).exchanged.empty());
  config.parallel.cp = 2;
  const RunPlan plan = make_plan(config, 2, target);
  ASSERT_EQ(plan.exchanged.size(), 3U);
  // 4 micro-batches, 2 layers, both directions, 2 sequences of 4 heads 8 x 16 float32.
  EXPECT_EQ(plan.exchanged[0].bytes, 4 * 2 * 2 * (2 * 4 * 8 * 16 * 4));
}

TEST(Plan, AChunkThatTheDeviceWouldNotTakeIsRefused) {
  Config config = tiny_config("");  // heads of 8/16, chunks of 8
  const Target cpu{.device = DeviceKind::kCpu, .compute = DType::kFloat32, .threads = 1};
  const Target gpu{.device = DeviceKind::kCuda, .compute = DType::kBfloat16, .threads = 1};
  EXPECT_EQ(make_dimensions(config, {}, 0, cpu).chunk, 8);
  try {
    make_plan(config, 1, gpu);
    FAIL() << "planned";
  } catch (const ConfigError& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kConfig);
    EXPECT_STREQ(error.what(),
                 "train.chunk: is 8, but GPUs take heads of 8/16 in chunks of 128 (set train.chunk: auto or 128)");
  }
  for (const int64_t legal : {0, 128}) {
    config.train.chunk = legal;
    EXPECT_EQ(make_dimensions(config, {}, 0, gpu).chunk, 128);
    EXPECT_EQ(make_dimensions(config, {}, 0, gpu).fold_chunk, 128);
  }
  config.model.value_expansion = 1.25;  // heads of 8/10, whose decay is not folded
  config.train.chunk = 8;
  EXPECT_EQ(make_dimensions(config, {}, 0, gpu).chunk, 8);
  EXPECT_EQ(make_dimensions(config, {}, 0, gpu).fold_chunk, 0);
}

}  // namespace
}  // namespace retain::test
