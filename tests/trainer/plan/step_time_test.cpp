// Predictions beside steps that H200s took: the rows name the commits of tests/bench/README.md.
#include "trainer/plan/step_time.h"

#include <gtest/gtest.h>

namespace retain::test {
namespace {

constexpr Target kH200{.device = DeviceKind::kCuda, .compute = DType::kBfloat16};

/// The shapes of configs/: layers, width, heads, width of the FFN.
ModelConfig shape(int64_t layers, int64_t width, int64_t heads, int64_t ffn) {
  ModelConfig model;
  model.layers = layers;
  model.hidden_size = width;
  model.heads = heads;
  model.ffn_size = ffn;
  model.tie_embeddings = true;
  return model;
}

ModelConfig untied(ModelConfig model) {
  model.tie_embeddings = false;
  return model;
}

ModelConfig of_bytes(ModelConfig model) {
  model.vocab_size = 257;
  return untied(model);
}

constexpr int64_t kKi = 1024;

struct Measured {
  const char* source;  ///< commit
  ModelConfig model;
  int64_t batch_tokens, micro_batch_tokens;
  double tokens_per_second = 0;
  int64_t seq_len = 2 * kKi;
  Recompute recompute = Recompute::kNone;
  StepGraph graph = StepGraph::kAuto;
  int tp = 1, cp = 1, gpus = 1;
};

double predicted(const Measured& run) {
  Config config;
  config.model = run.model;
  config.data.seq_len = run.seq_len;
  config.train.batch_tokens = run.batch_tokens;
  config.train.micro_batch_tokens = run.micro_batch_tokens;
  config.train.recompute = run.recompute;
  config.train.graph = run.graph;
  config.parallel.tp = run.tp;
  config.parallel.cp = run.cp;
  const RunPlan plan = make_plan(config, run.gpus, kH200);
  const RankExchanges exchanges =
      busiest_exchanges(plan.traffic, plan.mesh, plan.dealing, machines_of(run.gpus, 8), true);
  const Gpu gpu = predicted_gpu("h200");
  return cost_of(config, plan, gpu, predict_step(config, plan, exchanges, gpu).seconds()).tokens_per_second;
}

TEST(PredictedStep, IsWithinFifteenPercentOfWhatAnH200Took) {
  const ModelConfig m125 = shape(12, 768, 6, 1024), m350 = shape(24, 1024, 4, 1536), m1300 = shape(24, 2048, 8, 2816),
                    m1400 = untied(m1300), m2700 = shape(32, 2560, 10, 3584), m6700 = shape(32, 4096, 16, 5632),
                    demo = of_bytes(shape(4, 160, 2, 320));
  constexpr StepGraph kOn = StepGraph::kOn, kOff = StepGraph::kOff;
  const std::vector<Measured> measured = {
      {"002b44d", m1400, 16 * kKi, 16 * kKi, 65'321},
      {"6470bb5", m1400, 512 * kKi, 16 * kKi, 69'100},
      {"06c7088", m1400, 32 * kKi, 32 * kKi, 68'602},
      {"06c7088", m1400, 32 * kKi, 32 * kKi, 68'049, 32 * kKi},
      {"06c7088", m1400, 64 * kKi, 64 * kKi, 66'060, 2 * kKi, Recompute::kSelective},
      {"f969764", m1400, 32 * kKi, 32 * kKi, 52'160, 2 * kKi, Recompute::kFull},
      {"23f8d0f", m1400, 1024 * kKi, 1024 * kKi, 51'972, 1024 * kKi, Recompute::kSegment},
      {"6470bb5", m1300, 32 * kKi, 32 * kKi, 68'800},
      {"6470bb5", m2700, 16 * kKi, 16 * kKi, 33'900},
      {"06c7088", m350, 32 * kKi, 32 * kKi, 206'563},
      {"06c7088", m125, 32 * kKi, 32 * kKi, 587'715},
      {"23f8d0f", m6700, 4 * kKi, 4 * kKi, 12'419},
      {"23f8d0f", m6700, 16 * kKi, 16 * kKi, 11'164, 2 * kKi, Recompute::kFull},
      {"06c7088", demo, 2 * kKi, 512, 264'540, 256, Recompute::kNone, kOff},
      {"06c7088", demo, 2 * kKi, 512, 786'903, 256, Recompute::kNone, kOn},
      {"06c7088", demo, 16 * kKi, 16 * kKi, 6.15e6, 256, Recompute::kNone, kOff},
      {"06c7088", demo, 16 * kKi, 16 * kKi, 8.68e6, 256, Recompute::kNone, kOn},
      {"06c7088", demo, 64 * kKi, 64 * kKi, 11.4e6, 256, Recompute::kNone, kOn},
      {"4412afc", m1400, 32 * kKi, 16 * kKi, 2 * 65'865 * 0.989, 2 * kKi, Recompute::kNone, kOff, 1, 1, 2},
      {"4412afc", m1400, 32 * kKi, 32 * kKi, 2 * 65'865 * 0.857, 2 * kKi, Recompute::kNone, kOff, 2, 1, 2},
      {"cde6215", m1400, 32 * kKi, 32 * kKi, 114'561, 2 * kKi, Recompute::kNone, kOff, 1, 2, 2},
  };
  for (const Measured& run : measured) {
    EXPECT_NEAR(predicted(run) / run.tokens_per_second, 1, 0.15)
        << run.source << ": " << run.tokens_per_second << " tokens/s";
  }
}

TEST(PredictedStep, CountsTheRunsHoursAndEnergy) {
  Config config;
  config.train.tokens = 1'000'000;
  config.train.batch_tokens = 1000;
  config.train.micro_batch_tokens = 1000;
  config.data.seq_len = 1000;
  const RunPlan plan = make_plan(config, 1, kH200);
  const RunCost cost = cost_of(config, plan, predicted_gpu("h200"), 3.6);
  EXPECT_DOUBLE_EQ(cost.hours, 1);
  EXPECT_DOUBLE_EQ(cost.gpu_hours, 1);
  EXPECT_DOUBLE_EQ(cost.kilowatt_hours, 0.7);
  EXPECT_DOUBLE_EQ(cost.mfu, plan.flops_per_token * 1000 / 3.6 / 989e12);
}

TEST(PredictedStep, TakesLongerOverSlowerLinks) {
  Config config;
  config.train.micro_batch_tokens = 8 * kKi;
  config.train.batch_tokens = 16 * config.train.micro_batch_tokens;
  const RunPlan plan = make_plan(config, 16, kH200);
  const Gpu gpu = predicted_gpu("h200");
  const auto seconds = [&](int a_machine, double network) {
    return predict_step(config, plan,
                        busiest_exchanges(plan.traffic, plan.mesh, plan.dealing, machines_of(16, a_machine), true), gpu,
                        network)
        .seconds();
  };
  EXPECT_LT(seconds(16, 50e9), seconds(8, 50e9));
  EXPECT_LT(seconds(8, 50e9), seconds(8, 5e9));
}

}  // namespace
}  // namespace retain::test
