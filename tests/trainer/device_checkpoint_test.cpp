// Checkpoints on every device: a save that goes on while training does, a resume to the last bit, and the way from one
// device to another.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <latch>

#include "tests/support/devices.h"
#include "tests/support/tiny_checkpoint.h"
#include "tests/support/tiny_run.h"
#include "trainer/checkpoint/trainer_state.h"
#include "trainer/run/training_run.h"

namespace retain::test {
namespace {

class OnDevice : public ::testing::TestWithParam<Device> {
 protected:
  void SetUp() override {
    if (!GetParam().are_here(1)) GTEST_SKIP() << "no GPU";
    write_tiny_text(directory_.path());
    config_ = tiny_config(directory_.path());
    config_.optimizer.lr = 0.01;  // so that every step changes everything
    config_.schedule.warmup_steps = 1;
    GetParam().place(config_);
  }
  std::string path(const std::string& name) const { return directory_.path() + "/" + name; }

  TemporaryDirectory directory_;
  Config config_;
};

std::string device_name(const ::testing::TestParamInfo<Device>& info) { return info.param.name; }

std::vector<char> bytes_of(HostState& state) {
  state.begin_copy();
  state.wait();
  const auto* begin = static_cast<const char*>(state.flat().master.data);
  return {begin, begin + state.bytes()};
}

TEST_P(OnDevice, BeforeTheUpdateNothingHasChanged) {
  const auto backend = GetParam().make();
  const auto mesh = make_single_mesh();
  Trainer trainer(*backend, *mesh, config_, GetParam().target());
  HostState state(*backend, trainer.parameters(), trainer.reducer().share());
  for (int64_t step = 0; step < 3; ++step) {
    const std::vector<char> before = bytes_of(state);
    std::vector<char> meanwhile;
    trainer.step(step, {}, [&] { meanwhile = bytes_of(state); });
    EXPECT_EQ(meanwhile, before) << "step " << step;
    EXPECT_NE(bytes_of(state), before) << "step " << step;
  }
}

TEST_P(OnDevice, ASaveTakesTheStateAfterItsStepThoughTrainingGoesOn) {
  const auto backend = GetParam().make();
  const auto mesh = make_single_mesh();
  Trainer trainer(*backend, *mesh, config_, GetParam().target());
  HostState state(*backend, trainer.parameters(), trainer.reducer().share());
  CheckpointWriter writer(mesh->host(), path("background"), {.keep = 2});
  const auto placements = placements_of(trainer.parameters().layout(), 0);
  for (int64_t step = 0; step < 6; step += 2) {
    trainer.step(step, {}, [] {});
    save_state(trainer, path("foreground"), step + 1);
    std::latch trained(1);
    state.begin_copy();
    writer.begin(run_state_of(trainer, step + 1), placements, state.flat(), [&] {
      trained.wait();
      state.wait();
    });
    trainer.step(step + 1, {}, [&] { state.hold_queue(); });
    trained.count_down();
    const SaveResult result = *writer.finish();
    ASSERT_TRUE(result.committed) << result.message;
    EXPECT_EQ(digest_of(path("background")), digest_of(path("foreground"))) << "step " << step + 1;
  }
}

// The losses in metrics.jsonl as they stand there, which is to the last bit.
std::vector<std::string> losses_of(const Config& config) {
  std::vector<std::string> losses;
  std::ifstream metrics(config.run.dir + "/metrics.jsonl");
  for (std::string line; std::getline(metrics, line);) {
    const size_t begin = line.find("\"loss\":");
    if (begin == std::string::npos) continue;  // a resume
    losses.push_back(line.substr(begin, line.find(',', begin) - begin));
  }
  return losses;
}

// A run of its own, from where the one before it stopped until `steps` updates are done.
void train(const Device& device, const Config& config, int64_t steps) {
  const auto backend = device.make();
  const auto mesh = make_single_mesh();
  Log log({.directory = config.run.dir});
  TrainingRun run(*backend, *mesh, log, config, device.target(), identity_of(config), {}, nullptr);
  run.begin();
  auto done = static_cast<int64_t>(losses_of(config).size());
  const RunOutcome outcome =
      run.run([&] { return Wishes{.stop = done++ == steps}; });  // asked before the first step too
  EXPECT_EQ(outcome, steps < config.steps() ? RunOutcome::kStopped : RunOutcome::kFinished);
}

TEST_P(OnDevice, AResumeWithKeptTuningIsBitEqual) {
  if (GetParam().cuda) {  // large enough that algorithms are measured, and so may come out otherwise in another run
    config_.model.hidden_size = 256;
    config_.model.ffn_size = 512;
    config_.data.seq_len = 256;
    config_.optimizer.lr = 1e-3;
    config_.train = {.batch_tokens = 2048, .micro_batch_tokens = 1024};
  }
  config_.train.tokens = 6 * config_.train.batch_tokens;
  config_.checkpoint.every = 2;
  Config straight = config_, resumed = config_;
  straight.run.dir = path("straight");
  resumed.run.dir = path("resumed");
  for (const Config* config : {&straight, &resumed}) RunDirectory(config->run.dir).create();
  train(GetParam(), straight, 6);
  const std::string tuning = straight.run.dir + "/ranks/tuning-00000.txt";
  EXPECT_EQ(std::filesystem::exists(tuning), GetParam().cuda);
  if (GetParam().cuda) std::filesystem::copy(tuning, resumed.run.dir + "/ranks");
  train(GetParam(), resumed, 3);
  train(GetParam(), resumed, 6);
  ASSERT_EQ(losses_of(straight).size(), 6U);
  EXPECT_EQ(losses_of(resumed), losses_of(straight));
  EXPECT_EQ(digest_of(resumed.run.dir), digest_of(straight.run.dir));
}

INSTANTIATE_TEST_SUITE_P(Devices, OnDevice, ::testing::Values(kCpu, kCudaFloat32, kCudaBfloat16), device_name);

class BetweenDevices : public ::testing::TestWithParam<std::pair<Device, Device>> {};

TEST_P(BetweenDevices, ACheckpointMovesWithoutChange) {
  const auto& [from, to] = GetParam();
  if (!from.are_here(1) || !to.are_here(1)) GTEST_SKIP() << "no GPU";
  const TemporaryDirectory directory;
  write_tiny_text(directory.path());
  Config config = tiny_config(directory.path());
  const std::string here = directory.path() + "/here", there = directory.path() + "/there";
  const auto with_trainer = [&](const Device& device, const std::function<void(Trainer&)>& body) {
    device.place(config);
    const auto backend = device.make();
    const auto mesh = make_single_mesh();
    Trainer trainer(*backend, *mesh, config, device.target());
    body(trainer);
  };
  double loss = 0;
  with_trainer(from, [&](Trainer& trainer) {
    for (int64_t step = 0; step < 3; ++step) trainer.step(step, {}, [] {});
    save_state(trainer, here, 3);
    loss = trainer.step(3, {}, [] {}).loss;
  });
  with_trainer(to, [&](Trainer& trainer) {
    load_state(trainer, here);
    save_state(trainer, there, 3);
    EXPECT_EQ(digest_of(there), digest_of(here));
    EXPECT_NEAR(trainer.step(3, {}, [] {}).loss, loss, from.compute == to.compute ? 1e-4 : 1e-2);
  });
}

INSTANTIATE_TEST_SUITE_P(Devices, BetweenDevices,
                         ::testing::Values(std::pair(kCpu, kCpu), std::pair(kCpu, kCudaFloat32),
                                           std::pair(kCpu, kCudaBfloat16), std::pair(kCudaFloat32, kCpu),
                                           std::pair(kCudaBfloat16, kCpu)),
                         [](const auto& info) {
                           return std::string(info.param.first.name) + "_to_" + info.param.second.name;
                         });

}  // namespace
}  // namespace retain::test
