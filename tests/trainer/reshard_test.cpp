// A checkpoint of one device continues on two of them, cut in every way, and back: the state is the same to the last
// bit, the losses follow. Two processes of MPI, whose tensors go over MPI on CPUs and over NCCL on GPUs.
#include <gtest/gtest.h>

#include <optional>

#include "parallel/agreement.h"
#include "parallel/nccl/nccl_communicator.h"
#include "tests/support/devices.h"
#include "tests/support/ranks.h"
#include "tests/support/tiny_checkpoint.h"
#include "tests/support/tiny_run.h"

namespace retain::test {
namespace {

constexpr int64_t kSteps = 3;

struct Case {
  Device device;
  double tolerance;  ///< of the loss, in nats
};

void PrintTo(const Case& c, std::ostream* out) { PrintTo(c.device, out); }

class Reshard : public ::testing::TestWithParam<Case> {};

/// Loads `from` if there is one, saves that to `to`, and trains on.
std::vector<double> go_on(Trainer& trainer, int64_t step, const std::string& from, const std::string& to) {
  if (!from.empty()) load_state(trainer, from);
  if (!to.empty()) save_state(trainer, to, step);
  std::vector<double> losses;
  for (int64_t i = step; i < step + kSteps; ++i) losses.push_back(trainer.step(i, {}, [] {}).loss);
  return losses;
}

void expect_follows(const std::vector<double>& got, const std::vector<double>& want) {
  for (size_t i = 0; i < want.size(); ++i) {
    EXPECT_NEAR(got[i], want[i], Reshard::GetParam().tolerance) << "step " << i << " after the resume";
  }
}

void reshard(Communicator& world, const Device& device, const MeshShape& both, int zero) {
  std::optional<TemporaryDirectory> owned;
  if (world.rank() == 0) {
    owned.emplace();
    write_tiny_text(owned->path());
  }
  const std::string directory = broadcast_text(world, owned ? owned->path() : "", 0);
  const std::string one = directory + "/one", two = directory + "/two", again = directory + "/again";
  Config config = tiny_config(directory);
  device.place(config);

  std::vector<double> undisturbed;
  if (world.rank() == 0) {
    const auto backend = device.make();
    const auto mesh = make_single_mesh();
    Trainer trainer(*backend, *mesh, config, device.target());
    go_on(trainer, 0, "", "");
    undisturbed = go_on(trainer, kSteps, "", one);
  }
  world.barrier();
  {
    config.parallel = {.dp = both.dp, .cp = both.cp, .tp = both.tp, .zero = zero};
    const auto backend = device.make(world.rank());
    Mesh mesh(both, world.split(0, world.rank()),
              device.cuda ? make_nccl_groups(world, world.rank(), backend->stream()) : same_group);
    Trainer trainer(*backend, mesh, config, device.target(), kTinyBucket);
    const std::vector<double> losses = go_on(trainer, kSteps, one, two);
    if (world.rank() == 0) {
      EXPECT_EQ(digest_of(two), digest_of(one));
      expect_follows(losses, undisturbed);
    }
    world.barrier();
  }
  if (world.rank() == 0) {
    config.parallel = {};
    const auto backend = device.make();
    const auto mesh = make_single_mesh();
    Trainer trainer(*backend, *mesh, config, device.target());
    const std::vector<double> losses = go_on(trainer, kSteps, two, again);
    EXPECT_EQ(digest_of(again), digest_of(two));
    expect_follows(losses, undisturbed);
  }
  world.barrier();
}

TEST_P(Reshard, FromOneToTwoAndBack) {
  const Device& device = GetParam().device;
  if (!device.are_here(2)) GTEST_SKIP() << "needs 2 GPUs, there are " << cuda_device_count();
  on_every_group([&](Communicator& world) {
    for (const MeshShape& both : {MeshShape{2, 1, 1}, MeshShape{1, 2, 1}, MeshShape{1, 1, 2}}) {
      for (const int zero : {0, 1, 2}) {
        SCOPED_TRACE(concat(both.describe(), " zero=", zero));
        reshard(world, device, both, zero);
      }
    }
  });
}

// 7 micro-batches over 2 replicas, at every level of ZeRO, and gradients that travel rounded.
void train_unevenly(Communicator& world, const Device& device) {
  std::optional<TemporaryDirectory> owned;
  if (world.rank() == 0) {
    owned.emplace();
    write_tiny_text(owned->path());
  }
  Config config = tiny_config(broadcast_text(world, owned ? owned->path() : "", 0));
  device.place(config);
  config.train.micro_batch_tokens = 32;
  config.train.batch_tokens = int64_t{7} * 32;
  std::vector<double> alone;
  if (world.rank() == 0) {
    const auto backend = device.make();
    const auto mesh = make_single_mesh();
    Trainer trainer(*backend, *mesh, config, device.target());
    alone = go_on(trainer, 0, "", "");
  }
  world.barrier();
  for (const int zero : {0, 1, 2}) {
    for (const GradientType type : {GradientType::kFp32, GradientType::kBf16}) {
      SCOPED_TRACE(concat("zero=", zero, type == GradientType::kBf16 ? " bf16" : " fp32"));
      config.parallel = {.dp = 2, .zero = zero, .gradient_dtype = type};
      const auto backend = device.make(world.rank());
      Mesh mesh({.dp = 2}, world.split(0, world.rank()),
                device.cuda ? make_nccl_groups(world, world.rank(), backend->stream()) : same_group);
      Trainer trainer(*backend, mesh, config, device.target(), kTinyBucket);
      const std::vector<double> losses = go_on(trainer, 0, "", "");
      for (size_t i = 0; i < alone.size(); ++i)
        EXPECT_NEAR(losses[i], alone[i], Reshard::GetParam().tolerance + (type == GradientType::kBf16 ? 1e-3 : 0));
      world.barrier();
    }
  }
}

TEST_P(Reshard, UnevenReplicasAndRoundedGradientsFollowOneDevice) {
  const Device& device = GetParam().device;
  if (!device.are_here(2)) GTEST_SKIP() << "needs 2 GPUs, there are " << cuda_device_count();
  on_every_group([&](Communicator& world) { train_unevenly(world, device); });
}

INSTANTIATE_TEST_SUITE_P(Devices, Reshard,
                         ::testing::Values(Case{kCpu, 1e-5}, Case{kCudaFloat32, 1e-4}, Case{kCudaBfloat16, 1e-2}),
                         [](const auto& info) { return std::string(info.param.device.name); });

}  // namespace
}  // namespace retain::test
