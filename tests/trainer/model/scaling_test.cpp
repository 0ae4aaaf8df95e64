// How weights begin and are updated, by model.init and model.base_width.
#include "trainer/model/scaling.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <string>

#include "tests/support/tiny_run.h"

namespace retain::test {
namespace {

ModelConfig model_of(Init init, int64_t hidden_size, int64_t base_width = 0) {
  ModelConfig model;
  model.layers = 8;
  model.hidden_size = hidden_size;
  model.heads = 4;
  model.ffn_size = 3 * hidden_size / 2;
  model.vocab_size = 300;
  model.init = init;
  model.base_width = base_width;
  return model;
}

/// Of the declared parameters, by the part of the name behind the layer.
std::map<std::string, Scaling> scalings(const ModelConfig& model) {
  std::map<std::string, Scaling> all;
  const ParameterLayout layout(model, 0, 1, 1);
  for (const ParameterSpec& spec : layout.parameters) {
    const bool in_layer = spec.name.starts_with("layers.");
    all[in_layer ? spec.name.substr(spec.name.find('.', 7) + 1) : spec.name] = spec.scaling;
  }
  return all;
}

TEST(Scaling, NormalIsOneDeviationForAllMatrices) {
  for (const auto& [name, scaling] : scalings(model_of(Init::kNormal, 64))) {
    const bool norm = name.find("norm") != std::string::npos;
    EXPECT_EQ(scaling.init_std, norm ? 0 : 0.02) << name;
    EXPECT_EQ(scaling.init_value, 1) << name;
    EXPECT_EQ(scaling.group, UpdateGroup::kInput) << name;
  }
}

TEST(Scaling, DepthScaledDividesWhatAddsToTheStream) {
  for (const auto& [name, scaling] : scalings(model_of(Init::kDepthScaled, 64))) {
    if (name.find("norm") != std::string::npos) continue;
    const bool adds = name == "retention.o_proj.weight" || name == "ffn.down_proj.weight";
    EXPECT_EQ(scaling.init_std, adds ? 0.02 / 4 : 0.02) << name;  // √(2·8)
  }
}

TEST(Scaling, TorchscaleHasTheGainsOfThePapersCode) {
  const auto all = scalings(model_of(Init::kTorchscale, 64));
  const auto xavier = [](double gain, double in, double out) { return gain * std::sqrt(2 / (in + out)); };
  const std::map<std::string, double> want = {{"retention.q_proj.weight", xavier(std::pow(2, -2.5), 64, 64)},
                                              {"retention.k_proj.weight", xavier(std::pow(2, -2.5), 64, 64)},
                                              {"retention.v_proj.weight", xavier(std::pow(2, -2.5), 64, 128)},
                                              {"retention.g_proj.weight", xavier(std::pow(2, -2.5), 64, 128)},
                                              {"retention.o_proj.weight", xavier(0.5, 128, 64)},
                                              {"ffn.gate_proj.weight", 1 / std::sqrt(3.0 * 64)},  // of U(±1/√64)
                                              {"ffn.up_proj.weight", 1 / std::sqrt(3.0 * 64)},
                                              {"ffn.down_proj.weight", 1 / std::sqrt(3.0 * 96)},
                                              {"embeddings.weight", 0.125},
                                              {"lm_head.weight", 0.125}};
  for (const auto& [name, std] : want) EXPECT_DOUBLE_EQ(all.at(name).init_std, std) << name;
}

// arXiv 2505.01618, table 1.
TEST(Scaling, ByWidthLeavesTheModelAtBaseWidthAsItIs) {
  for (const Init init : {Init::kNormal, Init::kDepthScaled, Init::kTorchscale}) {
    const auto plain = scalings(model_of(init, 64)), base = scalings(model_of(init, 64, 64)),
               wide = scalings(model_of(init, 256, 64));
    for (const auto& [name, scaling] : plain) {
      const bool norm = name.find("norm") != std::string::npos;
      const bool hidden = !norm && name != "embeddings.weight" && name != "lm_head.weight";
      EXPECT_EQ(base.at(name).init_std, scaling.init_std) << name;
      EXPECT_EQ(base.at(name).init_value, 1) << name;
      EXPECT_NEAR(wide.at(name).init_std, scaling.init_std / (hidden ? 2 : 1), 1e-15) << name;
      EXPECT_EQ(wide.at(name).init_value, name == "final_norm.weight" ? 0.25 : 1) << name;
      const UpdateFactors factors = update_factors(model_of(init, 256, 64), wide.at(name).group);
      EXPECT_EQ(factors.rate, hidden || name == "final_norm.weight" ? 0.25 : 1) << name;
      EXPECT_EQ(factors.decay, hidden ? 4 : 1) << name;
      EXPECT_EQ(factors.eps, name == "final_norm.weight" ? 1 : 0.25) << name;
    }
  }
}

TEST(Scaling, WeightsAreDrawnWithTheirDeviation) {
  ModelConfig model = model_of(Init::kTorchscale, 64, 32);
  model.vocab_size = 2000;
  const ParameterLayout layout(model, 0, 1, 1);
  const auto backend = make_cpu_backend(1);
  ParameterStore store(*backend, layout, DType::kFloat32, ReplicaShare(layout.buckets), Residency::kInference);
  store.initialize(5);
  for (const ParameterSpec& spec : layout.parameters) {
    const float* values = store.flat_weights().as<float>() + spec.flat_offset;
    const int64_t count = spec.real_rows * spec.columns;
    double squares = 0;
    for (int64_t i = 0; i < count; ++i) squares += double{values[i]} * values[i];
    const double rms = std::sqrt(squares / static_cast<double>(count));
    if (spec.scaling.init_std > 0) {
      EXPECT_NEAR(rms / spec.scaling.init_std, 1, 4 / std::sqrt(2.0 * static_cast<double>(count))) << spec.name;
    } else {
      EXPECT_DOUBLE_EQ(rms, spec.scaling.init_value) << spec.name;
    }
  }
}

Config scaled_config(const std::string& directory, int64_t base_width) {
  Config config = tiny_config(directory);
  config.model.base_width = base_width;
  config.optimizer = {.lr = 1e-3, .eps = 1e-30, .weight_decay = 0.3, .clip = 0};
  config.schedule.warmup_steps = 0;
  return config;
}

TEST(Scaling, AtBaseWidthATrainingIsTheSameToTheLastBit) {
  const TemporaryDirectory directory;
  write_tiny_text(directory.path());
  const auto train = [&](int64_t base_width) {
    return train_tiny(scaled_config(directory.path(), base_width), DType::kFloat32, 3, make_self_communicator());
  };
  const TinyResult plain = train(0), base = train(32), scaled = train(16);
  EXPECT_EQ(base.losses, plain.losses);
  EXPECT_EQ(base.weights, plain.weights);
  EXPECT_NE(scaled.losses, plain.losses);
}

// The first update of AdamW goes by the learning rate in the direction of each gradient's sign.
TEST(Scaling, UpdatesGoByTheRateAndDecayOfTheirGroup) {
  const TemporaryDirectory directory;
  write_tiny_text(directory.path());
  const Config config = scaled_config(directory.path(), 8);
  const double lr = config.optimizer.lr, decay = config.optimizer.weight_decay;
  const auto backend = make_cpu_backend(1);
  const auto mesh = make_single_mesh();
  Trainer trainer(*backend, *mesh, config, {.device = DeviceKind::kCpu, .compute = DType::kFloat64, .threads = 1});
  const auto before = gather_whole(trainer, trainer.parameters().flat_weights());
  const TinyResult after = train_tiny(trainer, 1);
  const ParameterLayout& layout = trainer.parameters().layout();
  for (size_t p = 0; p < layout.parameters.size(); ++p) {
    const ParameterSpec& spec = layout.parameters[p];
    const UpdateFactors factors = update_factors(config.model, spec.scaling.group);
    const double shrunk = spec.rank == 2 ? 1 - lr * factors.rate * decay * factors.decay : 1;
    for (size_t i = 0; i < before[p].size(); ++i) {
      if (after.first_gradients[p][i] == 0) continue;  // of a token that is not in the batch
      const double want = before[p][i] * shrunk - std::copysign(lr * factors.rate, after.first_gradients[p][i]);
      ASSERT_NEAR(after.weights[p][i], want, 1e-12) << spec.name << " " << i;
    }
  }
}

}  // namespace
}  // namespace retain::test
