// Updates that are not applied: on no rank is anything changed, and what follows does not know of them.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/support/devices.h"
#include "tests/support/faulty_backend.h"
#include "tests/support/ranks.h"
#include "tests/support/tiny_run.h"
#include "trainer/checkpoint/trainer_state.h"

namespace retain::test {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN(), kInfinity = std::numeric_limits<double>::infinity();

Config learning_config(const std::string& directory) {
  Config config = tiny_config(directory);
  config.optimizer.lr = 0.01;  // so that every step changes everything
  config.schedule.warmup_steps = 1;
  return config;
}

/// Master weights and moments of a rank's share, and all its weights, as bytes.
std::vector<char> state_of(Trainer& trainer) {
  trainer.parameters().await_weights(0);
  HostState state(trainer.backend(), trainer.parameters(), trainer.reducer().share());
  state.begin_copy();
  state.wait();
  const auto* begin = static_cast<const char*>(state.flat().master.data);
  std::vector<char> bytes(begin, begin + state.bytes());
  const TensorView weights = trainer.parameters().flat_weights();
  std::vector<char> all(static_cast<size_t>(weights.bytes()));
  trainer.backend().download(all.data(), weights);
  bytes.insert(bytes.end(), all.begin(), all.end());
  return bytes;
}

void put_nan(FaultyBackend& backend, const TensorView& element) { backend.fill(element, kNan); }

TEST(SkippedUpdate, ANotANumberInOneElementOnOneRankChangesNothingOnAnyRank) {
  const TemporaryDirectory directory;
  write_tiny_text(directory.path());
  on_every_group([&](Communicator& group) {
    if (group.size() > 4) return;
    for (const MeshShape& shape : meshes_of(group.size())) {
      if (shape.cp == 3 || shape.tp == 3) continue;  // which the tiny run does not divide into
      for (const int zero : {0, 1, 2}) {
        SCOPED_TRACE(concat(shape.describe(), " zero ", zero));
        Config config = learning_config(directory.path());
        config.parallel = {.dp = shape.dp, .cp = shape.cp, .tp = shape.tp, .zero = zero};
        FaultyBackend backend(make_cpu_backend(1));
        bool sick = false;
        backend.in_embedding_gradient = [&](FaultyBackend& b, int64_t, const TensorView& element) {
          if (sick && group.rank() == group.size() - 1) put_nan(b, element);
        };
        Mesh mesh(shape, group.split(0, group.rank()));
        Trainer trainer(backend, mesh, config, {.device = DeviceKind::kCpu, .compute = DType::kFloat32, .threads = 1},
                        kTinyBucket);
        EXPECT_FALSE(trainer.step(0, {}, [] {}).skipped);
        const std::vector<char> before = state_of(trainer);
        sick = true;
        const StepResult result = trainer.step(1, {}, [] {});
        EXPECT_TRUE(result.skipped);
        EXPECT_FALSE(std::isfinite(result.grad_norm));
        EXPECT_EQ(state_of(trainer), before);
        sick = false;
        EXPECT_FALSE(trainer.step(2, {}, [] {}).skipped);
        EXPECT_NE(state_of(trainer), before);
      }
    }
  });
}

class OnDevice : public testing::TestWithParam<Device> {
 protected:
  void SetUp() override {
    if (!GetParam().are_here(1)) GTEST_SKIP() << "no GPU";
    write_tiny_text(directory_.path());
    config_ = learning_config(directory_.path());
    GetParam().place(config_);
  }

  TemporaryDirectory directory_;
  Config config_;
};

TEST_P(OnDevice, ASkippedStepIsOneThatNeverWas) {
  constexpr int64_t kSick = 4;
  FaultyBackend backend(GetParam().make());  // one for all, because products are measured once
  const auto mesh = make_single_mesh();
  const auto train = [&](bool leave_out) {
    Trainer trainer(backend, *mesh, config_, GetParam().target(), kTinyBucket);
    for (int64_t step = 0; step < 10; ++step) {
      backend.in_embedding_gradient = [&](FaultyBackend& b, int64_t, const TensorView& element) {
        if (step == kSick) put_nan(b, element);
      };
      if (step == kSick && leave_out) continue;
      EXPECT_EQ(trainer.step(step, {}, [] {}).skipped, step == kSick);
    }
    return state_of(trainer);
  };
  EXPECT_EQ(train(false), train(true));
}

TEST_P(OnDevice, ALossThatIsNotFiniteIsEnough) {
  FaultyBackend backend(GetParam().make());
  backend.in_loss = [](FaultyBackend& b, int64_t count, const TensorView& loss) {
    if (count == 1) b.fill(loss, kInfinity);
  };
  const auto mesh = make_single_mesh();
  Trainer trainer(backend, *mesh, config_, GetParam().target(), kTinyBucket);
  const std::vector<char> before = state_of(trainer);
  const StepResult result = trainer.step(0, {}, [] {});
  EXPECT_TRUE(result.skipped);
  EXPECT_EQ(result.loss, kInfinity);
  EXPECT_TRUE(std::isfinite(result.grad_norm));
  EXPECT_EQ(state_of(trainer), before);
}

TEST_P(OnDevice, WhatIsBeyondALimitIsNotApplied) {
  const auto backend = GetParam().make();
  const auto mesh = make_single_mesh();
  Trainer trainer(*backend, *mesh, config_, GetParam().target(), kTinyBucket);
  const auto step = [&](const UpdateLimits& limits) {
    trainer.prepare({}, {});
    trainer.queue([] {}, {.limits = limits});
    return trainer.finish();
  };
  const std::vector<char> before = state_of(trainer);
  const StepResult by_loss = step({.loss = 1});
  EXPECT_TRUE(by_loss.skipped);
  EXPECT_TRUE(step({.loss = by_loss.loss * 1.01, .grad_norm = by_loss.grad_norm * 0.99}).skipped);
  EXPECT_EQ(state_of(trainer), before);
  EXPECT_FALSE(step({.loss = by_loss.loss * 1.01, .grad_norm = by_loss.grad_norm * 1.01}).skipped);
  EXPECT_NE(state_of(trainer), before);
}

INSTANTIATE_TEST_SUITE_P(SkippedUpdate, OnDevice, testing::Values(kCpu, kCudaFloat32, kCudaBfloat16),
                         [](const auto& info) { return info.param.name; });

// Of what several ranks compute wrongly, the first in the order of backward is named, and one rank.
TEST(BadNumbers, AreNamedWithTheirTensorAndRank) {
  const TemporaryDirectory directory;
  write_tiny_text(directory.path());
  on_every_group([&](Communicator& group) {
    if (group.size() != 2 && group.size() != 4) return;
    for (const MeshShape& shape : meshes_of(group.size())) {
      for (const int zero : {1, 2}) {
        SCOPED_TRACE(concat(shape.describe(), " zero ", zero));
        Config config = learning_config(directory.path());
        config.parallel = {.dp = shape.dp, .cp = shape.cp, .tp = shape.tp, .zero = zero};
        FaultyBackend backend(make_cpu_backend(1));
        Mesh mesh(shape, group.split(0, group.rank()));
        Trainer trainer(backend, mesh, config, {.device = DeviceKind::kCpu, .compute = DType::kFloat32, .threads = 1},
                        kTinyBucket);
        const auto found = [&] {
          trainer.prepare({}, {});
          return trainer.find_bad_numbers();
        };
        EXPECT_EQ(found(), "");
        const int sick = group.size() - 1;
        backend.in_embedding_gradient = [&](FaultyBackend& b, int64_t, const TensorView& element) {
          if (group.rank() == sick) put_nan(b, element);
        };
        const std::string gradient = found();
        EXPECT_EQ(
            gradient.find(concat("the gradient of embeddings.weight in micro-batch 0 on rank ", sick, " on host ")), 0U)
            << gradient;
        backend.in_embedding_gradient = {};
        int64_t calls = 0;  // of a forward: as many for each layer
        backend.in_ffn = [&](FaultyBackend&, int64_t, const TensorView&) { ++calls; };
        EXPECT_EQ(found(), "");
        const int64_t of_a_layer = calls / config.model.layers / trainer.loader().micro_batches();
        calls = 0;
        backend.in_ffn = [&](FaultyBackend& b, int64_t, const TensorView& element) {
          if (group.rank() == sick && calls++ >= of_a_layer) put_nan(b, element);
        };
        const std::string output = found();
        EXPECT_EQ(output.find(concat("the output of layer 1 in micro-batch 0 on rank ")), 0U) << output;
        backend.in_ffn = {};
        EXPECT_FALSE(trainer.step(0, {}, [] {}).skipped) << "nothing was left behind";
        trainer.parameters().await_weights(0);
        const ParameterSpec& spec = trainer.parameters().layout().find("layers.1.ffn.down_proj.weight");
        if (group.rank() == sick)
          backend.fill(trainer.parameters().flat_weights().slice(0, spec.flat_offset + 3, 1), kNan);
        const std::string weight = found();
        EXPECT_EQ(weight.find(concat("the weight layers.1.ffn.down_proj.weight on rank ", sick)), 0U) << weight;
      }
    }
  });
}

}  // namespace
}  // namespace retain::test
