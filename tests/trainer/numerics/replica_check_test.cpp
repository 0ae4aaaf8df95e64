// Replicas that came to hold different bits: found, and the odd one named.
#include "trainer/numerics/replica_check.h"

#include <gtest/gtest.h>

#include "parallel/agreement.h"
#include "tests/support/devices.h"
#include "tests/support/faulty_backend.h"
#include "tests/support/ranks.h"
#include "tests/support/tiny_run.h"
#include "trainer/checkpoint/store.h"
#include "trainer/run/training_run.h"

namespace retain::test {
namespace {

constexpr Target kTarget{.device = DeviceKind::kCpu, .compute = DType::kFloat32, .threads = 1};

Config checking_config(const std::string& directory) {
  Config config = tiny_config(directory);
  config.numerics.check_replicas_every = 1;
  return config;
}

/// What the check says on this rank, or "".
std::string refusal(Trainer& trainer, int64_t step) {
  try {
    trainer.check_replicas(step);
  } catch (const SharedError& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kData);
    return error.what();
  }
  return "";
}

void flip(const TensorView& element, unsigned bit) {
  auto& word = *static_cast<uint32_t*>(element.data);
  word ^= 1U << bit;
}

TEST(OddRanks, AreThoseOutsideOfTheMajority) {
  EXPECT_FALSE(find_odd_ranks({{0, 7}, {1, 7}, {2, 7}}));
  const auto one = find_odd_ranks({{0, 7}, {3, 8}, {5, 7}});
  ASSERT_TRUE(one);
  EXPECT_EQ(one->odd, std::vector<int>{3});
  EXPECT_EQ(one->others, 2U);
  for (const auto& values : {std::vector<std::pair<int, uint64_t>>{{0, 7}, {1, 8}},
                             {{0, 7}, {1, 8}, {2, 7}, {3, 8}},
                             {{0, 7}, {1, 8}, {2, 9}, {3, 7}}}) {
    const auto unclear = find_odd_ranks(values);
    ASSERT_TRUE(unclear);
    EXPECT_EQ(unclear->odd.size(), values.size()) << "nobody can tell";
    EXPECT_EQ(unclear->others, 0U);
  }
}

TEST(ReplicaCheck, FindsEveryBitOfAWeightInEveryLayout) {
  const TemporaryDirectory directory;
  write_tiny_text(directory.path());
  on_every_group([&](Communicator& group) {
    if (group.size() == 1 || group.size() > 4) return;
    for (const MeshShape& shape : meshes_of(group.size())) {
      if (shape.dp * shape.cp == 1 || shape.cp == 3) continue;
      for (const int zero : {0, 1, 2}) {
        Config config = checking_config(directory.path());
        config.parallel = {.dp = shape.dp, .cp = shape.cp, .tp = shape.tp, .zero = zero};
        SCOPED_TRACE(concat(shape.describe(), " zero ", zero));
        const auto backend = make_cpu_backend(1);
        Mesh mesh(shape, group.split(0, group.rank()));
        Trainer trainer(*backend, mesh, config, kTarget);
        trainer.step(0, {}, [] {});
        EXPECT_EQ(backend->allocated_bytes(), make_plan(config, group.size(), kTarget).memory_bytes());
        EXPECT_EQ(refusal(trainer, 1), "");
        const int sick = group.size() - 1;
        const TensorView element =
            trainer.parameters().weight("layers.1.ffn.down_proj.weight").slice(0, 3, 1).slice(1, 1, 1);
        for (unsigned bit = 0; bit < 32; ++bit) {
          if (group.rank() == sick) flip(element, bit);
          const std::string said = refusal(trainer, 1);
          if (group.rank() == sick) flip(element, bit);
          EXPECT_NE(said.find("in the weights of bucket "), std::string::npos) << "bit " << bit << ": " << said;
          EXPECT_NE(said.find(concat("rank ", sick, " on host ")), std::string::npos) << said;
          const int replicas = shape.dp * shape.cp;
          if (replicas > 2)
            EXPECT_EQ(said.find(concat("step 1: rank ", sick, " on host ")), 0U) << said;
          else
            EXPECT_NE(said.find("too few agree to tell who is right"), std::string::npos) << said;
        }
        EXPECT_EQ(refusal(trainer, 2), "");
      }
    }
  });
}

TEST(ReplicaCheck, FindsMomentsThatAreReplicatedAndNormsOverTp) {
  const TemporaryDirectory directory;
  write_tiny_text(directory.path());
  run_ranks(4, [&](Communicator& group) {
    Config config = checking_config(directory.path());
    config.parallel = {.dp = 2, .cp = 1, .tp = 2, .zero = 0};
    const auto backend = make_cpu_backend(1);
    Mesh mesh({2, 1, 2}, group.split(0, group.rank()));
    Trainer trainer(*backend, mesh, config, kTarget, kTinyBucket);
    trainer.step(0, {}, [] {});
    const SharePiece all = trainer.parameters().updated().pieces().front();
    for (const auto& [x, name] : {std::pair(trainer.parameters().moment1(all), "first moments"),
                                  std::pair(trainer.parameters().moment2(all), "second moments")}) {
      if (group.rank() == 3) flip(x.slice(0, 100, 1), 0);
      EXPECT_NE(refusal(trainer, 1).find(name), std::string::npos);
      if (group.rank() == 3) flip(x.slice(0, 100, 1), 0);
    }
    // The same on both replicas of one tp rank: only the norms' comparison over tp can see it.
    const TensorView norm = trainer.parameters().weight("layers.0.ffn_norm.weight").slice(0, 5, 1);
    if (mesh.at().tp == 1) flip(norm, 3);
    EXPECT_NE(refusal(trainer, 1).find("in the weights of norms"), std::string::npos);
    if (mesh.at().tp == 1) flip(norm, 3);
    EXPECT_EQ(refusal(trainer, 1), "");
  });
}

class ReplicaCheckOnDevice : public testing::TestWithParam<Device> {};

TEST_P(ReplicaCheckOnDevice, AgreesWithItselfAndChangesNothing) {
  if (!GetParam().are_here(1)) GTEST_SKIP() << "no GPU";
  const TemporaryDirectory directory;
  write_tiny_text(directory.path());
  const auto backend = GetParam().make();  // one for both, because products are measured once
  const auto mesh = make_single_mesh();
  std::vector<double> want;
  for (const int64_t every : {1, 0}) {
    Config config = tiny_config(directory.path());
    config.numerics.check_replicas_every = every;
    GetParam().place(config);
    Trainer trainer(*backend, *mesh, config, GetParam().target(), kTinyBucket);
    std::vector<double> losses;
    for (int64_t step = 0; step < 5; ++step) {
      losses.push_back(trainer.step(step, {}, [] {}).loss);
      trainer.check_replicas(step + 1);
    }
    if (every > 0) want = losses;
    EXPECT_EQ(losses, want);
  }
}

INSTANTIATE_TEST_SUITE_P(Devices, ReplicaCheckOnDevice, testing::Values(kCpu, kCudaFloat32, kCudaBfloat16),
                         [](const auto& info) { return info.param.name; });

// A weight of rank 1 changes in step 4 of a run that saves every step: nothing of step 4 is saved.
TEST(ReplicaCheck, EndsARunBeforeAnythingIsSaved) {
  const TemporaryDirectory directory;
  write_tiny_text(directory.path());
  Config config = checking_config(directory.path());
  config.numerics.check_replicas_every = 100;  // and before every save
  config.checkpoint.every = 1;
  config.checkpoint.async = false;
  config.parallel = {.dp = 3, .zero = 0};
  RunDirectory(config.run.dir).create();
  run_ranks(3, [&](Communicator& group) {
    FaultyBackend backend(make_cpu_backend(1));
    backend.in_weights = [&](FaultyBackend& b, int64_t count, const TensorView& element) {
      if (group.rank() == 1 && count == 3 * 2) b.flip_lowest_bit(element);  // matrices and norms are two updates
    };
    Mesh mesh({3, 1, 1}, group.split(0, group.rank()));
    Log log({.world_rank = group.rank(), .directory = config.run.dir});
    TrainingRun run(backend, mesh, log, config, kTarget, identity_of(config), {}, nullptr);
    run.begin();
    try {
      run.run([] { return Wishes{}; });
      ADD_FAILURE() << "rank " << group.rank() << " goes on";
    } catch (const SharedError& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kData);
      EXPECT_EQ(std::string(error.what()).find("step 4: rank 1 on host "), 0U) << error.what();
    }
  });
  EXPECT_EQ(list_steps(checkpoints_directory(config.run.dir)).front().step, 3);
}

// A bit of rank 2's gradient is another one when it is computed again.
TEST(Replay, EndsARunBeforeAnythingIsSaved) {
  const TemporaryDirectory directory;
  write_tiny_text(directory.path());
  Config config = tiny_config(directory.path());
  config.numerics.replay_every = 2;
  config.checkpoint.every = 1;
  config.checkpoint.async = false;
  config.train.micro_batch_tokens = 32;
  config.parallel = {.dp = 3};
  RunDirectory(config.run.dir).create();
  run_ranks(3, [&](Communicator& group) {
    FaultyBackend backend(make_cpu_backend(1));
    int64_t step = 0, begin = 0;
    backend.in_weights = [&](FaultyBackend&, int64_t, const TensorView&) { ++step, begin = -1; };
    backend.in_embedding_gradient = [&](FaultyBackend& b, int64_t count, const TensorView& element) {
      if (begin < 0) begin = count;
      if (group.rank() == 2 && step == 3 * 2 && count == begin + 1) b.flip_lowest_bit(element);
    };
    Mesh mesh({3, 1, 1}, group.split(0, group.rank()));
    Log log({.world_rank = group.rank(), .directory = config.run.dir});
    TrainingRun run(backend, mesh, log, config, kTarget, identity_of(config), {}, nullptr);
    run.begin();
    try {
      run.run([] { return Wishes{}; });
      ADD_FAILURE() << "rank " << group.rank() << " goes on";
    } catch (const SharedError& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kData);
      const std::string said = error.what();
      EXPECT_EQ(
          said.find("step 4: the same micro-batch computed twice gave different bits, first in the gradients of "), 0U)
          << said;
      EXPECT_NE(said.find(": rank 2 on host "), std::string::npos) << said;
    }
  });
  EXPECT_EQ(list_steps(checkpoints_directory(config.run.dir)).front().step, 3);
}

}  // namespace
}  // namespace retain::test
