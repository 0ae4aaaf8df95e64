// What a run that cannot fit is told, on machines and GPUs of any size.
#include "launch/preflight.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/launch/config/support.h"
#include "tests/support/ranks.h"
#include "tests/support/tiny_run.h"
#include "trainer/plan/memory_advice.h"

namespace retain::test {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr int64_t kGib = int64_t{1} << 30;
constexpr Target kGpu{.device = DeviceKind::kCuda, .compute = DType::kBfloat16, .threads = 1};
constexpr Target kCpu{.device = DeviceKind::kCpu, .compute = DType::kFloat32, .threads = 1};

// 1.3 B parameters, which need about 55 GiB in micro-batches of 8 sequences.
Config large() { return parse_config(sources_of(read_source("configs/retnet_1.3b.yaml")), {}, 1).config; }

std::string refusal_of(const std::function<void()>& check) {
  try {
    check();
  } catch (const ConfigError& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kOutOfMemory);
    return error.what();
  }
  return "";
}

std::string gpu_refusal(const Config& config, int ranks, int64_t free_bytes, int64_t total_bytes) {
  return refusal_of(
      [&] { check_gpu_memory(config, ranks, kGpu, {.free_bytes = free_bytes, .total_bytes = total_bytes}); });
}

TEST(Preflight, AGpuHoldsWhatIsPlannedAndTheLibrariesToTheByte) {
  const Config config = large();
  const RunPlan plan = make_plan(config, 1, kGpu);
  ASSERT_GT(plan.libraries_bytes(), kCudaContextBytes);
  const int64_t enough =
      plan.memory_bytes() + plan.libraries_bytes() - kCudaContextBytes;  // the context is there already
  EXPECT_EQ(gpu_refusal(config, 1, enough, 80 * kGib), "");
  EXPECT_NE(gpu_refusal(config, 1, enough - 1, 80 * kGib), "");
}

TEST(Preflight, ARefusalNamesTheLargestPartsAndWhatIsEnough) {
  const RunPlan plan = make_plan(large(), 1, kGpu);
  const std::string text = gpu_refusal(large(), 1, 41 * kGib, 42 * kGib);
  EXPECT_THAT(text, HasSubstr("a rank needs " + gibibytes(plan.needed_bytes()) + " GiB of its GPU, " +
                              gibibytes(plan.libraries_bytes()) + " GiB of that for CUDA, cuBLAS and NCCL"));
  EXPECT_THAT(text, HasSubstr("of 42.0 GiB;"));
  EXPECT_THAT(text,
              HasSubstr("the largest parts of a rank: activations 32.1 GiB, optimizer moments 9.9 GiB, gradients"));
  EXPECT_THAT(text, HasSubstr("enough is each of: train.micro_batch_tokens: 8192 ("));
  EXPECT_THAT(text, HasSubstr("train.recompute: full (")) << "the mildest that is enough";
  EXPECT_THAT(text, HasSubstr("parallel.tp: 2 on 2 ranks ("));
  EXPECT_THAT(text, HasSubstr("parallel.cp: 2 on 2 ranks ("));
  EXPECT_THAT(text, Not(HasSubstr("parallel.zero")));
  EXPECT_THAT(text, Not(HasSubstr("parallel.dp"))) << "no number of replicas is enough";
  EXPECT_THAT(text, Not(HasSubstr("another process")));
}

TEST(Preflight, ARemedyThatIsNotEnoughIsNamedOnlyWhereNoneIs) {
  Config config = large();
  config.parallel = {.dp = 2, .cp = 1, .tp = 1, .zero = 0};
  const std::string text = gpu_refusal(config, 2, 2 * kGib, 3 * kGib);
  EXPECT_THAT(text, HasSubstr("would help: train.micro_batch_tokens: 2048 ("));
  EXPECT_THAT(text, HasSubstr("parallel.zero: 2 ("));
  EXPECT_THAT(text, HasSubstr("parallel.tp: 8 on 16 ranks ("));
  EXPECT_THAT(text, HasSubstr("a smaller model"));
  EXPECT_THAT(gpu_refusal(config, 2, 48 * kGib, 80 * kGib), HasSubstr("enough is each of"));
}

TEST(Preflight, WhatNcclMayTakeIsWarnedOfAndRefusesNothing) {
  Config config = large();
  config.parallel.dp = 2;
  const RunPlan plan = make_plan(config, 2, kGpu);
  ASSERT_GT(plan.nccl_bytes, 0);
  const int64_t enough = plan.needed_bytes() - kCudaContextBytes, without_nccl = enough - plan.nccl_bytes;
  const auto warning = [&](int64_t free_bytes) {
    return check_gpu_memory(config, 2, kGpu, {.free_bytes = free_bytes, .total_bytes = 80 * kGib});
  };
  EXPECT_EQ(warning(enough), "");
  for (const int64_t free_bytes : {enough - 1, without_nccl}) {
    EXPECT_THAT(warning(free_bytes), HasSubstr("this may not fit, NCCL's part being about " +
                                               gibibytes(plan.nccl_bytes) + " GiB: a rank needs"));
  }
  EXPECT_NE(gpu_refusal(config, 2, without_nccl - 1, 80 * kGib), "");
}

TEST(Preflight, MemoryThatAnotherProcessHasIsSaid) {
  EXPECT_THAT(gpu_refusal(large(), 1, 20 * kGib, 140 * kGib), HasSubstr("another process has memory there"));
}

TEST(Preflight, AMachineHoldsAllItsRanks) {
  Config config = large();
  config.parallel.dp = 2;
  const int64_t both = 2 * make_plan(config, 2, kCpu).needed_bytes();
  EXPECT_EQ(refusal_of([&] { check_host_memory(config, 2, kCpu, 2, both); }), "");
  const std::string text = refusal_of([&] { check_host_memory(config, 2, kCpu, 2, both - 1); });
  EXPECT_THAT(text, HasSubstr("2 rank(s) of this machine need"));
  EXPECT_THAT(text, HasSubstr("parallel.tp: 2 with parallel.dp: 1 ("));
  EXPECT_THAT(text, Not(HasSubstr("on 4 ranks"))) << "ranks of one machine share its memory";
}

TEST(Preflight, WhatCheckpointsAreWrittenFromCounts) {
  const Config config = large();
  const RunPlan cpu = make_plan(config, 1, kCpu), gpu = make_plan(config, 1, kGpu);
  EXPECT_GE(gpu.save_bytes, 12 * gpu.parameters.all);  // master weights and both moments in float32
  EXPECT_EQ(cpu.needed_bytes(), cpu.memory_bytes() + cpu.save_bytes + cpu.staging_bytes);
  EXPECT_EQ(gpu.needed_bytes(), gpu.memory_bytes() + gpu.libraries_bytes()) << "a GPU does not hold it";
  EXPECT_EQ(refusal_of([&] { check_host_memory(config, 1, kGpu, 8, 8 * gpu.host_bytes()); }), "");
  EXPECT_THAT(refusal_of([&] { check_host_memory(config, 1, kGpu, 8, 8 * gpu.host_bytes() - 1); }),
              HasSubstr("8 rank(s) of this machine need " + gibibytes(8 * gpu.host_bytes()) +
                        " GiB of its memory to save checkpoints from, "));
}

TEST(Preflight, EveryMachineIsLookedAt) {
  const TemporaryDirectory directory;
  const Config config = tiny_config(directory.path());
  // The ranks 0 and 1 are each the first of a machine, and rank 1 shares its own with too many.
  run_ranks(2, [&](Communicator& host) {
    const LocalPlace place{.rank = 0, .ranks = host.rank() == 1 ? 1 << 30 : 1};
    const std::string text = refusal_of([&] { check_memory(host, config, kCpu, place); });
    EXPECT_THAT(text, HasSubstr("rank 1: 1073741824 rank(s) of this machine need"));
  });
}

TEST(Plan, CountsTheGroupsOfNcclThatAMeshMakes) {
  Config config = large();
  const auto nccl_bytes = [&](int cp, int tp, int ranks) {
    config.parallel.cp = cp;
    config.parallel.tp = tp;
    return make_plan(config, ranks, kGpu).libraries_bytes() - make_plan(large(), 1, kGpu).libraries_bytes();
  };
  const int64_t group = nccl_bytes(1, 1, 2);  // replicas
  EXPECT_GT(group, 0);
  EXPECT_EQ(nccl_bytes(1, 2, 2), group);      // tp
  EXPECT_EQ(nccl_bytes(2, 1, 2), 2 * group);  // cp, replicas
  EXPECT_EQ(nccl_bytes(2, 2, 8), 3 * group);
  EXPECT_EQ(make_plan(large(), 2, kCpu).libraries_bytes(), 0);
}

}  // namespace
}  // namespace retain::test
