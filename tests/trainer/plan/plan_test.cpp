// A plan is what a run allocates, to the byte.
#include "trainer/plan/plan.h"

#include <gtest/gtest.h>

#include "tests/support/tiny_run.h"
#include "trainer/checkpoint/trainer_state.h"

namespace retain::testing {
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
    EXPECT_EQ(HostState(*backend, trainer.parameters(), trainer.share()).bytes(), plan.save_bytes);
    const int64_t before = backend->allocated_bytes();
    trainer.step(0, {}, [] {});
    trainer.step(1, {}, [] {});
    EXPECT_EQ(backend->allocated_bytes(), before) << "nothing is allocated after the start";
  }
}

TEST(Plan, ListsEveryByteOnAGpu) {
  if (cuda_device_count() == 0) GTEST_SKIP() << "no GPU";
  const TemporaryDirectory directory;
  write_tiny_text(directory.path());
  Config config = tiny_config(directory.path());
  config.device = DeviceKind::kCuda;
  for (const DType compute : {DType::kFloat32, DType::kBfloat16}) {
    const Target target{.device = DeviceKind::kCuda, .compute = compute, .threads = 1};
    const RunPlan plan = make_plan(config, 1, target);
    const auto backend = make_cuda_backend(0);
    const auto mesh = make_single_mesh();
    Trainer trainer(*backend, *mesh, config, target);
    trainer.step(0, {}, [] {});
    EXPECT_EQ(backend->allocated_bytes(), plan.memory_bytes());
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

}  // namespace
}  // namespace retain::testing
