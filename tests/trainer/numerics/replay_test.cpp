// A micro-batch that is computed twice: what differs is found, and nothing else of the run changes.
#include "trainer/numerics/replay.h"

#include <gtest/gtest.h>

#include "tests/support/devices.h"
#include "tests/support/faulty_backend.h"
#include "tests/support/ranks.h"
#include "tests/support/tiny_run.h"

namespace retain::test {
namespace {

constexpr Target kTarget{.device = DeviceKind::kCpu, .compute = DType::kFloat32, .threads = 1};

std::vector<double> train(Trainer& trainer, int64_t steps, bool replay) {
  std::vector<double> trace;
  for (int64_t i = 0; i < steps; ++i) {
    trainer.prepare(advance({}, trainer.config(), i), {});
    trainer.queue([] {}, {.replay = replay});
    const StepResult result = trainer.finish();
    EXPECT_EQ(result.replay_difference, std::nullopt) << "step " << i;
    trace.insert(trace.end(), {result.loss, result.grad_norm, result.agreed_loss});
  }
  trainer.parameters().await_weights(0);
  for (const std::vector<double>& tensor : gather_whole(trainer, trainer.parameters().flat_weights()))
    trace.insert(trace.end(), tensor.begin(), tensor.end());
  return trace;
}

Config replaying_config(const std::string& directory) {
  Config config = tiny_config(directory);
  config.numerics.replay_every = 1;
  return config;
}

TEST(Replay, ChangesNoBitOfARunInAnyLayoutAndTakesThePlannedMemory) {
  const TemporaryDirectory directory;
  write_tiny_text(directory.path());
  on_every_group([&](Communicator& group) {
    if (group.size() > 4 || group.size() == 3) return;
    auto turn = static_cast<size_t>(group.size());
    for (const MeshShape& shape : meshes_of(group.size())) {
      Config config = replaying_config(directory.path());
      const int zero = static_cast<int>(turn % 3);
      config.parallel = {.dp = shape.dp, .cp = shape.cp, .tp = shape.tp, .zero = zero};
      config.train.recompute = kRecomputeLevels[turn++ % kRecomputeLevels.size()];
      if (config.train.recompute == Recompute::kSegment) config.train.segment_tokens = 16;
      if (zero == 2) config.parallel.gradient_dtype = GradientType::kBf16;
      SCOPED_TRACE(concat(shape.describe(), " zero ", zero, " ", recompute_name(config.train.recompute)));
      std::vector<double> want;
      for (const bool replay : {false, true}) {
        config.numerics.replay_every = replay ? 1 : 0;
        const auto backend = make_cpu_backend(1);
        Mesh mesh(shape, group.split(0, group.rank()));
        Trainer trainer(*backend, mesh, config, kTarget);
        const std::vector<double> got = train(trainer, 20, replay);
        EXPECT_EQ(backend->allocated_bytes(), make_plan(config, group.size(), kTarget).memory_bytes());
        if (!replay) want = got;
        EXPECT_EQ(got, want);
      }
    }
  });
}

class ReplayOnDevice : public testing::TestWithParam<Device> {
 protected:
  void SetUp() override {
    if (!GetParam().are_here(1)) GTEST_SKIP() << "no GPU";
    write_tiny_text(directory_.path());
  }
  TemporaryDirectory directory_;
};

TEST_P(ReplayOnDevice, ChangesNoBit) {
  const auto backend = GetParam().make();  // one for both, because products are measured once
  const auto mesh = make_single_mesh();
  for (const Recompute level : kRecomputeLevels) {
    Config config = replaying_config(directory_.path());
    GetParam().place(config);
    config.train.recompute = level;
    std::vector<double> want;
    for (const bool replay : {true, false}) {
      Trainer trainer(*backend, *mesh, config, GetParam().target(), kTinyBucket);
      const std::vector<double> got = train(trainer, 5, replay);
      if (replay) want = got;
      EXPECT_EQ(got, want) << recompute_name(level);
    }
  }
}

TEST_P(ReplayOnDevice, FindsOneBitThatOnePassComputedOtherwise) {
  FaultyBackend backend(GetParam().make());
  const auto mesh = make_single_mesh();
  Config config = replaying_config(directory_.path());
  GetParam().place(config);
  for (const int64_t pass : {0, 1}) {
    Trainer trainer(backend, *mesh, config, GetParam().target(), kTinyBucket);
    const auto difference = [&] {
      trainer.prepare({}, {});
      trainer.queue([] {}, {.replay = true});
      return trainer.finish().replay_difference;
    };
    const auto flip = [pass, first = int64_t{-1}](FaultyBackend& b, int64_t count, const TensorView& element) mutable {
      if (first < 0) first = count;
      if (count - first == pass) b.flip_lowest_bit(element);
    };
    backend.in_embedding_gradient = flip;
    const ParameterLayout& layout = trainer.parameters().layout();
    const auto last_of_matrices = static_cast<int64_t>(
        std::ranges::count_if(layout.buckets, [&](const Range& bucket) { return bucket.begin < layout.matrices.end; }));
    EXPECT_EQ(difference(), last_of_matrices) << "of the embedding, the last but the norms";
    backend.in_embedding_gradient = {};
    backend.in_loss = flip;
    EXPECT_EQ(difference(), 0);
    backend.in_loss = {};
    EXPECT_EQ(difference(), std::nullopt);
  }
}

INSTANTIATE_TEST_SUITE_P(Replay, ReplayOnDevice, testing::Values(kCpu, kCudaFloat32, kCudaBfloat16),
                         [](const auto& info) { return info.param.name; });

TEST(Replay, ADifferenceIsRefusedOnEveryRankWithItsPlaceAndBucket) {
  run_ranks(3, [](Communicator& group) {
    Mesh mesh({3, 1, 1}, group.split(0, group.rank()));
    const ParameterLayout layout(tiny_config("").model, 0, 1, 3, kTinyBucket);
    const auto refusal = [&](const std::optional<int64_t>& difference) {
      try {
        refuse_replay_difference(mesh, concat("rank ", group.rank(), " on host h", group.rank()), layout, 7,
                                 difference);
      } catch (const SharedError& error) {
        EXPECT_EQ(error.kind(), ErrorKind::kData);
        return std::string(error.what());
      }
      return std::string();
    };
    EXPECT_EQ(refusal(std::nullopt), "");
    const std::string one = refusal(group.rank() == 1 ? std::optional<int64_t>(1) : std::nullopt);
    EXPECT_EQ(one.find("step 7: the same micro-batch computed twice gave different bits, first in the gradients of "
                       "bucket 0 (lm_head.weight): rank 1 on host h1; nothing was saved since"),
              0U)
        << one;
    const std::string two = refusal(group.rank() == 0 ? std::nullopt : std::optional<int64_t>(2 - group.rank()));
    EXPECT_NE(two.find("first in the losses: rank 2 on host h2 (and later rank 1 on host h1)"), std::string::npos)
        << two;
  });
}

}  // namespace
}  // namespace retain::test
