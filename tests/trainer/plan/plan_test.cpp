// A plan is what a run allocates, to the byte.
#include "trainer/plan/plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <limits>
#include <map>

#include "parallel/threads/run_ranks.h"
#include "tests/support/tiny_run.h"
#include "tests/support/wrapped_backend.h"
#include "trainer/checkpoint/trainer_state.h"
#include "trainer/plan/memory_advice.h"
#include "trainer/plan/recompute_levels.h"

namespace retain::test {
namespace {

/// Counts what is taken of the host.
class CountingBackend final : public WrappedBackend {
 public:
  CountingBackend() : WrappedBackend(make_cpu_backend(1)) {}
  std::unique_ptr<HostBuffer> make_host_buffer(int64_t bytes) override {
    host_bytes_ += bytes;
    return WrappedBackend::make_host_buffer(bytes);
  }
  int64_t host_bytes() const { return host_bytes_; }

 private:
  int64_t host_bytes_ = 0;
};

TEST(Plan, ListsEveryByteThatATrainerAllocates) {
  const TemporaryDirectory directory;
  write_tiny_text(directory.path());
  Config config = tiny_config(directory.path());
  for (const DType compute : {DType::kFloat32, DType::kFloat64}) {
    config.log.norms_every = compute == DType::kFloat64 ? 1 : 0;
    const Target target{.device = DeviceKind::kCpu, .compute = compute, .threads = 1};
    const RunPlan plan = make_plan(config, 1, target);
    CountingBackend backend;
    const auto mesh = make_single_mesh();
    Trainer trainer(backend, *mesh, config, target);
    EXPECT_EQ(backend.allocated_bytes(), plan.memory_bytes());
    EXPECT_EQ(backend.host_bytes(), plan.staging_bytes);
    EXPECT_EQ(HostState(backend, trainer.parameters(), trainer.reducer().share()).bytes(), plan.save_bytes);
    const int64_t before = backend.allocated_bytes();
    trainer.step(0, {}, [] {});
    trainer.step(1, {}, [] {});
    EXPECT_EQ(backend.allocated_bytes(), before) << "nothing is allocated after the start";
  }
}

TEST(Plan, ListsEveryByteAtEveryLevelOfRecompute) {
  const TemporaryDirectory directory;
  write_tiny_text(directory.path());
  Config config = tiny_config(directory.path());
  const Target target{.device = DeviceKind::kCpu, .compute = DType::kFloat32, .threads = 1};
  int64_t more = std::numeric_limits<int64_t>::max();
  for (const Recompute level : kRecomputeLevels) {
    config.train.recompute = level;
    config.train.segment_tokens = level == Recompute::kSegment ? 4 : 0;
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

// The model with 1.4 billion parameters that the defaults are, on an H200.
Config config_of_1b(int64_t seq_len, int64_t tokens) {
  Config config = tiny_config("");
  config.model = {};
  config.data.seq_len = seq_len;
  config.train = {.tokens = tokens, .batch_tokens = tokens, .micro_batch_tokens = tokens};
  return config;
}
const Target kH200 = {.device = DeviceKind::kCuda, .compute = DType::kBfloat16};
constexpr double kH200Bytes = 139.8 * (int64_t{1} << 30);

TEST(Plan, BytesOfActivationsATokenAtEveryLevelOfRecompute) {
  Recompute of = Recompute::kNone;
  constexpr int64_t kFewer = 16384, kMore = 32768;
  const auto activations = [&](int64_t tokens) {
    Config config = config_of_1b(2048, tokens);
    config.train.recompute = of;
    const RunPlan plan = make_plan(config, 1, kH200);
    const auto part = std::find_if(plan.memory.begin(), plan.memory.end(),
                                   [](const PlanPart& each) { return each.name == "activations"; });
    return part->bytes;
  };
  const std::map<Recompute, double> most_megabytes = {
      {Recompute::kNone, 2.04}, {Recompute::kSelective, 1.35}, {Recompute::kFull, 0.25}};
  for (const auto& [level, most] : most_megabytes) {
    of = level;
    const auto bytes = static_cast<double>(activations(kMore) - activations(kFewer));
    EXPECT_LE(bytes / (kMore - kFewer) * 1e-6, most);
    EXPECT_GE(bytes / (kMore - kFewer) * 1e-6, 0.9 * most);
  }
}

TEST(Plan, ASequenceOfAMillionTokensFitsInSegmentsThatFillAnH200) {
  constexpr int64_t kTokens = int64_t{1} << 20;
  Config config = config_of_1b(kTokens, kTokens);
  for (const Recompute level : {Recompute::kNone, Recompute::kSelective, Recompute::kFull}) {
    config.train.recompute = level;
    EXPECT_GT(make_plan(config, 1, kH200).needed_bytes(), kH200Bytes) << recompute_name(level);
  }
  config.train.recompute = Recompute::kSegment;
  const RunPlan plan = make_plan(config, 1, kH200);
  EXPECT_LE(plan.needed_bytes(), kH200Bytes);
  EXPECT_EQ(plan.shape.segment_tokens() % 256, 0) << "not whole chunks";
  EXPECT_GE(plan.shape.segment_count * plan.shape.segment_tokens(), kTokens);
  EXPECT_LT((plan.shape.segment_count - 1) * plan.shape.segment_tokens(), kTokens);
  // One segment less would not fit.
  config.train.segment_tokens = (kTokens / (plan.shape.segment_count - 1) + 255) / 256 * 256;
  EXPECT_GT(make_plan(config, 1, kH200).needed_bytes(), kH200Bytes - (int64_t{1} << 30));

  // Over two ranks segments are twice as long; on a tenth of the memory the model alone does not fit.
  config.train.segment_tokens = 0;
  config.parallel.cp = 2;
  EXPECT_GT(make_plan(config, 2, kH200).shape.segment_tokens(), 3 * plan.shape.segment_tokens() / 2);
  Target small = kH200;
  small.memory_bytes /= 10;
  EXPECT_GT(make_plan(config, 2, small).needed_bytes(), small.memory_bytes);
}

TEST(Plan, LevelsThatSaveMemoryCostTime) {
  const std::vector<LevelPlan> levels = plan_levels(config_of_1b(65536, 65536), 1, kH200);
  ASSERT_EQ(levels.size(), kRecomputeLevels.size());
  EXPECT_EQ(levels[0].relative_time, 1);
  EXPECT_NEAR(levels[1].relative_time, 1.035, 0.01);
  EXPECT_NEAR(levels[2].relative_time, 1.28, 0.02);
  EXPECT_EQ(levels[3].segment_tokens, 32768) << "half a sequence of 131 GiB of activations";
  EXPECT_NEAR(levels[3].relative_time, 1.15, 0.02);
  EXPECT_GT(levels[0].needed_bytes, levels[1].needed_bytes);
  EXPECT_GT(levels[1].needed_bytes, levels[2].needed_bytes);
}

TEST(Plan, WhatMemoryBindsCostsLessBesideSlowerProducts) {
  const ModelConfig model;
  const auto extra = [&](DType compute) {
    return relative_step_time(model, Recompute::kSelective, 1, 256, compute) - 1;
  };
  // Twice the bytes, at a fifteenth of the products' rate.
  EXPECT_NEAR(extra(DType::kFloat32) / extra(DType::kBfloat16), 2 * 67.0 / 989, 1e-9);
}

TEST(Plan, ARunThatDoesNotFitIsToldWhichLevelWould) {
  const Config config = config_of_1b(65536, 65536);
  const std::string advice = memory_advice(config, 1, kH200, kH200.memory_bytes);
  EXPECT_NE(advice.find("train.recompute: selective ("), std::string::npos) << advice;
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
      config.train.segment_tokens = level == Recompute::kSegment ? 20 : 0;
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

TEST(Plan, CountsWhatARankSendsByAxis) {
  Config config = tiny_config("");
  const Target target{.device = DeviceKind::kCpu, .compute = DType::kFloat32, .threads = 1};
  const auto traffic = [&](int ranks) { return make_plan(config, ranks, target).traffic; };
  EXPECT_TRUE(traffic(1).empty());
  config.parallel.cp = 2;
  ASSERT_EQ(traffic(2).size(), 3U);
  // 2 layers, both directions, 2 sequences of 4 heads 8 x 16 float32, to one other rank.
  EXPECT_EQ(traffic(2)[0].bytes_a_pass, 2 * 2 * (2 * 4 * 8 * 16 * 4));
  const int64_t flat = ParameterLayout(config.model, 0, 1, 2).flat_elements;
  EXPECT_EQ(traffic(2)[1].bytes_a_step, flat / 2 * 4) << "a reduce-scatter sends the other's half";
  EXPECT_EQ(traffic(2)[2].bytes_a_step, flat / 2 * 4) << "an all-gather sends its own";
  config.parallel.zero = 0;
  ASSERT_EQ(traffic(2).size(), 2U);
  EXPECT_EQ(traffic(2)[1].bytes_a_step, flat * 4) << "an all-reduce is both";
  config.parallel.zero = 2;
  EXPECT_EQ(traffic(2)[1].bytes_a_step, 0);
  EXPECT_EQ(traffic(2)[1].bytes_a_round, flat / 2 * 4);

  config.parallel = {.tp = 2};
  ASSERT_EQ(traffic(2).size(), 1U);
  // 2 layers of which each reduces and gathers 4 times, and the model's ends: of 64 rows those of the other rank.
  const int64_t bytes = traffic(2)[0].bytes_a_pass;
  EXPECT_EQ(bytes, 2 * (4 * 2 + 2) * 32 * 32 * 4);
  config.train.recompute = Recompute::kFull;  // a layer reduces once more and gathers twice
  EXPECT_EQ(traffic(2)[0].bytes_a_pass - bytes, 2 * 3 * 32 * 32 * 4);
}

// Ranks that have fewer micro-batches, padding of the vocabulary or a smaller part of a sequence take as much.
TEST(Plan, EveryRankOfAnUnevenCutAllocatesWhatIsPlanned) {
  const TemporaryDirectory directory;
  write_tiny_text(directory.path());
  Config config = tiny_config(directory.path());
  const Target target{.device = DeviceKind::kCpu, .compute = DType::kFloat32, .threads = 1};
  for (const MeshShape& mesh : {MeshShape{3, 1, 1}, MeshShape{3, 1, 2}, MeshShape{1, 2, 2}}) {
    config.parallel.dp = mesh.dp;
    config.parallel.cp = mesh.cp;
    config.parallel.tp = mesh.tp;
    const RunPlan plan = make_plan(config, mesh.ranks(), target);
    run_ranks(mesh.ranks(), [&](Communicator& world) {
      const auto backend = make_cpu_backend(1);
      Mesh ranks(mesh, world.split(0, world.rank()));
      Trainer trainer(*backend, ranks, config, target);
      trainer.step(0, {}, [] {});
      EXPECT_EQ(backend->allocated_bytes(), plan.memory_bytes()) << mesh.describe() << " rank " << world.rank();
    });
  }
}

TEST(Plan, SizesThatNobodyCanCountAreRefusedWithAReason) {
  Config config = tiny_config("");
  config.data.train = {{"text"}};
  config.data.seq_len = config.train.micro_batch_tokens = config.train.batch_tokens = int64_t{1} << 40;
  config.train.tokens = int64_t{1'000'000'000'000'000'000};
  config.train.chunk = 0;
  const Target cpu{.device = DeviceKind::kCpu, .compute = DType::kFloat32, .threads = 1}, gpu = kH200;
  const auto problems = [&] {
    std::string text;
    for (const ConfigProblem& problem : validate(config, 1)) text += problem.key + " " + problem.message + "\n";
    return text;
  };
  // A tiny model on 2^40 tokens is planned, at every level of recompute.
  ASSERT_EQ(problems(), "");
  for (const Target& target : {cpu, gpu}) {
    for (const LevelPlan& level : plan_levels(config, 1, target)) EXPECT_GT(level.needed_bytes, int64_t{1} << 40);
    const RunPlan plan = make_plan(config, 1, target);
    for (const PlanPart& part : plan.memory) EXPECT_GE(part.bytes, 0) << part.name;
  }
  // A model of 10^12 parameters on as many is not.
  config.model = {.layers = 100, .hidden_size = 32768, .heads = 64, .ffn_size = 65536, .vocab_size = 1'000'000};
  EXPECT_EQ(problems().find("train.batch_tokens = 1099511627776 tokens of this model move up to"), 0U) << problems();
  // On 2^20 it is, with every size as it is in exact arithmetic.
  config.data.seq_len = config.train.micro_batch_tokens = config.train.batch_tokens = int64_t{1} << 20;
  ASSERT_EQ(problems(), "");
  const RunPlan plan = make_plan(config, 1, gpu);
  EXPECT_EQ(plan.parameters.all, 1'568'781'242'368);
  EXPECT_GT(plan.checkpoint_bytes, 12 * plan.parameters.all);
  EXPECT_GT(plan.memory_bytes(), 18 * plan.parameters.all);
  // Other counts that no plan gets through.
  config.data.seq_len = config.train.micro_batch_tokens = 1;
  config.train.batch_tokens = 100'000'000;
  EXPECT_NE(problems().find("micro-batches of train.micro_batch_tokens = 1 for each of 1 replicas"), std::string::npos);
  config.data.seq_len = config.train.micro_batch_tokens = config.train.batch_tokens = int64_t{1} << 20;
  config.train.recompute = Recompute::kSegment;
  config.train.segment_tokens = 8;
  EXPECT_NE(problems().find("train.segment_tokens = 8 cuts data.seq_len = 1048576 into 131072 segments"),
            std::string::npos);
}

// Of what lies between the parts of a block a rank holds its own rows; whole are the two inputs of the parts alone.
TEST(Plan, ActivationsBetweenTheBlocksAreCutOverTensorParallelRanks) {
  Config config = tiny_config("");
  const Target target{.device = DeviceKind::kCpu, .compute = DType::kFloat32, .threads = 1};
  const auto of_a_layer = [&](int tp, Recompute level) {
    config.parallel.tp = tp;
    config.train.recompute = level;
    const auto bytes = [&](int64_t layers) {
      config.model.layers = layers;
      return RetNet::memory_bytes(make_dimensions(config, {1, 1, tp}, 0, target), Residency::kTraining);
    };
    return bytes(3) - bytes(2);
  };
  const auto bytes = [](int64_t elements) { return align_up(elements * 4, kAlignmentBytes); };
  for (const int tp : {1, 2, 4}) {
    const int64_t n = 64, d = 32, own = n / tp, heads = 4 / tp, ffn = 48 / tp;
    EXPECT_EQ(of_a_layer(tp, Recompute::kFull), bytes(own * d)) << "the stream that enters";
    const int64_t stream = 2 * bytes(own * d) + 2 * bytes(own);
    const int64_t products = bytes(n * heads * 48) + bytes(n * heads * 16) + bytes(n * heads) + bytes(n * 2 * ffn);
    EXPECT_EQ(of_a_layer(tp, Recompute::kSelective), stream + products);
    const int64_t elementwise = bytes(n * heads * 16) + bytes(n * ffn), states = bytes(heads * 2 * 4 * 8 * 16);
    EXPECT_EQ(of_a_layer(tp, Recompute::kNone), stream + products + elementwise + states + 2 * bytes(n * d));
  }
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
