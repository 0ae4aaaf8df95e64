// Steps that are prepared and queued while the one before is being computed are the steps that are done one by one.
#include <gtest/gtest.h>

#include <cmath>
#include <optional>

#include "tests/support/deferred_backend.h"
#include "tests/support/devices.h"
#include "tests/support/ranks.h"
#include "tests/support/step_variants.h"
#include "tests/support/tiny_run.h"

namespace retain::test {
namespace {

constexpr int64_t kSteps = 20;
constexpr Target kTarget{.device = DeviceKind::kCpu, .compute = DType::kFloat32, .threads = 1};

void append(Bits& bits, const StepResult& result) {
  for (const double x : {result.loss, result.grad_norm, result.lr}) bits.push_back(std::bit_cast<uint64_t>(x));
  bits.push_back(static_cast<uint64_t>(result.predicted_tokens));
  bits.push_back(result.skipped ? 1 : 0);
}

Bits bits_of_weights(Trainer& trainer) {
  trainer.parameters().await_weights(0);
  Bits bits;
  for (const std::vector<double>& tensor : gather_whole(trainer, trainer.parameters().flat_weights())) {
    for (const double x : tensor) bits.push_back(std::bit_cast<uint64_t>(x));
  }
  return bits;
}

/// What all steps come to, one by one or as a run takes them on a device that runs ahead; then the weights.
Bits train(Backend& backend, Mesh& mesh, const Config& config, const Target& target, bool following) {
  Trainer trainer(backend, mesh, config, target, kTinyBucket);
  Bits bits;
  if (!following) {
    for (int64_t i = 0; i < kSteps; ++i) append(bits, trainer.step(i, {}, [] {}));
  } else {
    for (int64_t i = 0; i < kSteps; ++i) {
      trainer.prepare(advance({}, config, i), {});
      trainer.queue([] {});
      if (i > 0) append(bits, trainer.finish());
    }
    append(bits, trainer.finish());
  }
  const Bits weights = bits_of_weights(trainer);
  bits.insert(bits.end(), weights.begin(), weights.end());
  return bits;
}

TEST(FollowingSteps, OnADeviceThatRunsBehindAreThoseOneByOne) {
  const TemporaryDirectory directory;
  write_tiny_text(directory.path());
  for (const StepVariant& variant : step_variants()) {
    Config config = tiny_config(directory.path());
    variant.change(config);
    const auto mesh = make_single_mesh();
    const Bits want = train(*make_cpu_backend(1), *mesh, config, kTarget, false);
    DeferredBackend behind;
    EXPECT_EQ(train(behind, *mesh, config, kTarget, true), want) << variant.name;
  }
}

TEST(FollowingSteps, OnAGpuAreThoseOneByOne) {
  if (cuda_device_count() == 0) GTEST_SKIP() << "no GPU";
  const TemporaryDirectory directory;
  write_tiny_text(directory.path());
  for (const StepVariant& variant : step_variants()) {
    for (const Device& device : {kCudaFloat32, kCudaBfloat16}) {
      Config config = tiny_config(directory.path());
      variant.change(config);
      device.place(config);
      const auto mesh = make_single_mesh();
      const auto backend = device.make();  // one for both, because products are measured once
      const Bits want = train(*backend, *mesh, config, device.target(), false);
      EXPECT_EQ(train(*backend, *mesh, config, device.target(), true), want) << variant.name << ", " << device.name;
    }
  }
}

TEST(FollowingSteps, InEveryLayoutAreThoseOneByOne) {
  const TemporaryDirectory directory;
  write_tiny_text(directory.path());
  on_every_group([&](Communicator& group) {
    if (group.size() != 2 && group.size() != 4) return;
    for (const int cp : {1, 2}) {
      for (const int tp : {1, 2}) {
        if (group.size() % (cp * tp) != 0) continue;
        for (size_t i = 0; i < step_variants().size(); ++i) {
          Config config = tiny_config(directory.path());
          step_variants()[i].change(config);
          config.parallel = {.dp = group.size() / cp / tp, .cp = cp, .tp = tp, .zero = static_cast<int>(i) % 3};
          if (config.train.micro_batch_tokens == config.train.batch_tokens)
            config.train.micro_batch_tokens /= config.parallel.dp;
          Mesh mesh(config.mesh(group.size()), group.split(0, group.rank()));
          const Bits want = train(*make_cpu_backend(1), mesh, config, kTarget, false);
          EXPECT_EQ(train(*make_cpu_backend(1), mesh, config, kTarget, true), want)
              << step_variants()[i].name << ", " << mesh.shape().describe();
        }
      }
    }
  });
}

// A sample of step 1 is damaged: it hinders neither step 0 nor what the ranks agree on, and only the rank that reads it
// knows more than that another one failed.
TEST(FollowingSteps, ABatchThatCannotBeLoadedFailsItsOwnStepOnEveryRank) {
  const TemporaryDirectory directory;
  write_tiny_text(directory.path());
  const Config config = tiny_config(directory.path());
  const int64_t tokens = TokenSet(directory.path() + "/text", config.model.vocab_size).tokens();
  const BatchOrder order({whole_windows(tokens, config.data.seq_len)}, {1.0}, config.run.seed);
  spoil_token(directory.path() + "/text", order.at(advance({}, config, 1).samples).window * config.data.seq_len + 5);
  run_ranks(2, [&](Communicator& group) {
    const auto backend = make_cpu_backend(1);
    Mesh mesh({2, 1, 1}, group.split(0, group.rank()));
    Trainer trainer(*backend, mesh, config, kTarget, kTinyBucket);
    EXPECT_FALSE(trainer.prepare({}, {}).failed);
    trainer.queue([] {});
    const NextStep next = trainer.prepare(advance({}, config, 1), {.save = true});
    EXPECT_TRUE(next.failed);
    EXPECT_TRUE(next.wishes.save);
    EXPECT_TRUE(std::isfinite(trainer.finish().loss));
    try {
      trainer.queue([] {});
      ADD_FAILURE() << "rank " << group.rank() << " goes on";
    } catch (const CommunicationError& error) {
      EXPECT_EQ(group.rank(), 1) << error.what();
    } catch (const Error& error) {
      EXPECT_EQ(group.rank(), 0) << error.what();
      EXPECT_EQ(error.kind(), ErrorKind::kData);
    }
  });
}

TEST(FollowingSteps, AreTwoAtMost) {
  const TemporaryDirectory directory;
  write_tiny_text(directory.path());
  const Config config = tiny_config(directory.path());
  const auto backend = make_cpu_backend(1);
  const auto mesh = make_single_mesh();
  Trainer trainer(*backend, *mesh, config, kTarget);
  EXPECT_THROW(trainer.finish(), Error);
  EXPECT_THROW(trainer.queue([] {}), Error);
  trainer.prepare({}, {});
  EXPECT_THROW(trainer.prepare({}, {}), Error);
  trainer.queue([] {});
  trainer.prepare(advance({}, config, 1), {});
  trainer.queue([] {});
  EXPECT_THROW(trainer.prepare(advance({}, config, 2), {}), Error);
}

}  // namespace
}  // namespace retain::test
