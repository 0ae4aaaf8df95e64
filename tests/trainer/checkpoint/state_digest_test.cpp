// Digests of the state: the same whatever mesh holds it, and compared after every load.
#include "trainer/checkpoint/state_digest.h"

#include <gtest/gtest.h>

#include "tests/support/devices.h"
#include "tests/support/ranks.h"
#include "tests/support/tiny_checkpoint.h"
#include "tests/support/tiny_run.h"
#include "tests/support/wrapped_backend.h"
#include "trainer/checkpoint/inspect.h"
#include "trainer/run/training_run.h"

namespace retain::test {
namespace {

constexpr Target kTarget{.device = DeviceKind::kCpu, .compute = DType::kFloat32, .threads = 1};

class SavedDigests : public testing::Test {
 protected:
  void SetUp() override { write_tiny_text(directory_.path()); }
  /// Three steps, saved.
  Config config(const std::string& name) const {
    Config config = tiny_config(directory_.path());
    config.run.dir = directory_.path() + "/" + name;
    config.train.tokens = 3 * config.train.batch_tokens;
    config.train.micro_batch_tokens = 32;
    config.optimizer.lr = 0.01;
    config.schedule.warmup_steps = 1;
    config.checkpoint.every = 0;
    return config;
  }
  void train(Backend& backend, const Config& config, std::unique_ptr<Communicator> ranks,
             const RunStart& start = {}) const {
    const int rank = ranks->rank();
    if (rank == 0) RunDirectory(config.run.dir).create();
    ranks->barrier();
    const MeshShape shape = config.mesh(ranks->size());
    Mesh mesh(shape, std::move(ranks));
    Log log({.world_rank = rank, .directory = config.run.dir});
    TrainingRun run(backend, mesh, log, config, kTarget, identity_of(config), start, nullptr);
    run.begin();
    run.run([] { return Wishes{}; });
  }
  static std::vector<TensorRecord> tensors_of(const Config& config) {
    return open_unverified(config.run.dir).manifest().tensors;
  }

  TemporaryDirectory directory_;
};

TEST_F(SavedDigests, AreSavedAndAgreeAfterALoadOnEveryMesh) {
  const Config one = config("one");
  train(*make_cpu_backend(1), one, make_self_communicator());
  for (const TensorRecord& tensor : tensors_of(one)) EXPECT_TRUE(tensor.digests) << tensor.name;
  run_ranks(4, [&](Communicator& group) {
    int turn = 0;
    for (const MeshShape& shape : meshes_of(4)) {
      const int zero = turn++ % 3;
      Config many = config(concat("dp", shape.dp, "cp", shape.cp, "tp", shape.tp));
      many.parallel = {.dp = shape.dp, .cp = shape.cp, .tp = shape.tp, .zero = zero};
      many.train.tokens += many.train.batch_tokens;
      train(*make_cpu_backend(1), many, group.split(0, group.rank()), {.resume = one.run.dir});
      // Without a step between, what another mesh holds has the same digests.
      const auto backend = make_cpu_backend(1);
      Mesh mesh(shape, group.split(0, group.rank()));
      Trainer trainer(*backend, mesh, many, kTarget, kTinyBucket);
      load_state(trainer, one.run.dir);
      const Checkpoint checkpoint = open_unverified(one.run.dir);
      EXPECT_NO_THROW(refuse_other_digest(mesh.host(), checkpoint, DType::kFloat32, trainer.state_digest().compute(),
                                          LoadedPart::kAll))
          << shape.describe();
    }
  });
}

/// Changes one bit of one of the states, numbered from 0, on its way to the device.
class LossyBackend final : public WrappedBackend {
 public:
  explicit LossyBackend(int64_t upload) : WrappedBackend(make_cpu_backend(1)), upload_(upload) {}
  void upload(const TensorView& device, const void* host) override {
    WrappedBackend::upload(device, host);
    const bool state = device.dtype == DType::kFloat32 && device.elements() > 10000;
    if (state && uploads_++ == upload_) static_cast<uint8_t*>(device.data)[device.bytes() / 2] ^= 4U;
  }

 private:
  int64_t upload_, uploads_ = 0;
};

TEST_F(SavedDigests, ABitThatChangedOnTheWayIsNamedWithItsTensor) {
  const Config config = this->config("run");
  train(*make_cpu_backend(1), config, make_self_communicator());
  Config more = config;
  more.train.tokens += more.train.batch_tokens;
  for (const auto& [upload, state] : {std::pair(0, "master"), std::pair(1, "m"), std::pair(2, "v")}) {
    LossyBackend lossy(upload);
    try {
      train(lossy, more, make_self_communicator());
      ADD_FAILURE() << state;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kData);
      EXPECT_NE(std::string(error.what()).find(concat(" ", state, " was loaded as ")), std::string::npos)
          << error.what();
    }
  }
  EXPECT_EQ(list_steps(checkpoints_directory(config.run.dir)).size(), 1U) << "nothing was set aside";
  LossyBackend moments(1);  // which a run that takes the weights alone does not load
  Config other = this->config("other");
  train(moments, other, make_self_communicator(), {.init_from = config.run.dir});
  LossyBackend weights(0);
  other.run.dir += "-lossy";
  EXPECT_THROW(train(weights, other, make_self_communicator(), {.init_from = config.run.dir}), Error);
}

TEST_F(SavedDigests, ACheckpointWithoutThemLoads) {
  const Config config = this->config("older");
  const auto backend = make_cpu_backend(1);
  const auto mesh = make_single_mesh();
  Trainer trainer(*backend, *mesh, config, kTarget);
  save_state(trainer, config.run.dir, 1);
  for (const TensorRecord& tensor : tensors_of(config)) EXPECT_FALSE(tensor.digests);
  train(*backend, config, make_self_communicator());
  EXPECT_EQ(open_unverified(config.run.dir).state().step, 3);
}

class StateDigestOnDevice : public testing::TestWithParam<Device> {};

// The CPU's digest of what a GPU saved.
TEST_P(StateDigestOnDevice, IsThatOfTheCpu) {
  if (!GetParam().are_here(1)) GTEST_SKIP() << "no GPU";
  const TemporaryDirectory directory;
  write_tiny_text(directory.path());
  Config config = tiny_config(directory.path());
  GetParam().place(config);
  const auto backend = GetParam().make();
  const auto mesh = make_single_mesh();
  Trainer trainer(*backend, *mesh, config, GetParam().target(), kTinyBucket);
  for (int64_t step = 0; step < 2; ++step) trainer.step(step, {}, [] {});
  trainer.parameters().await_weights(0);
  save_state(trainer, config.run.dir, 2);
  const auto plain = make_cpu_backend(1);
  Config here = tiny_config(directory.path());
  Trainer other(*plain, *mesh, here, kTarget, kTinyBucket);
  load_state(other, config.run.dir);
  EXPECT_EQ(trainer.state_digest().compute(), other.state_digest().compute());
}

INSTANTIATE_TEST_SUITE_P(Devices, StateDigestOnDevice, testing::Values(kCpu, kCudaFloat32, kCudaBfloat16),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace retain::test
