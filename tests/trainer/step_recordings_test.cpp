// Steps that are recorded once and queued again are the steps that are not, to the last bit: on a CPU by a backend that
// does again what it was given then, on a GPU by graphs.
#include "trainer/step_recordings.h"

#include <gtest/gtest.h>

#include <bit>
#include <fstream>
#include <limits>

#include "tests/support/devices.h"
#include "tests/support/recording_backend.h"
#include "tests/support/step_variants.h"
#include "tests/support/tiny_checkpoint.h"
#include "tests/support/tiny_run.h"
#include "trainer/checkpoint/trainer_state.h"
#include "trainer/run/training_run.h"

namespace retain::test {
namespace {

constexpr int64_t kSteps = 14;

void append(Bits& bits, const StepResult& result) {
  for (const double x : {result.loss, result.grad_norm, result.lr}) bits.push_back(std::bit_cast<uint64_t>(x));
  bits.push_back(result.skipped ? 1 : 0);
  EXPECT_EQ(result.replay_difference, std::nullopt);
}

/// Of weights, master weights and moments.
void append_state(Bits& bits, Trainer& trainer) {
  for (const std::vector<double>& tensor : gather_whole(trainer, trainer.parameters().flat_weights()))
    for (const double x : tensor) bits.push_back(std::bit_cast<uint64_t>(x));
  HostState state(trainer.backend(), trainer.parameters(), trainer.reducer().share());
  state.begin_copy();
  state.wait();
  const auto* bytes = reinterpret_cast<const unsigned char*>(state.flat().master.data);
  bits.insert(bits.end(), bytes, bytes + state.bytes());
}

/// A limit that no step keeps, in some of them; a replay in others.
StepOrder order_of(int64_t step) {
  StepOrder order;
  if (step % 5 == 3) order.limits.grad_norm = 1e-9;
  order.replay = step % 6 == 4;
  return order;
}

/// What all steps come to, one queued before the other is done, with what stands between two steps of a run now and
/// then: a save that goes on beside, a validation.
Bits train(Backend& backend, const Config& config, const Target& target) {
  const auto mesh = make_single_mesh();
  Trainer trainer(backend, *mesh, config, target, kTinyBucket);
  HostState state(backend, trainer.parameters(), trainer.reducer().share());
  Bits bits;
  for (int64_t i = 0; i < kSteps; ++i) {
    trainer.prepare(advance({}, config, i), {});
    if (i > 0 && i % 4 == 0) {
      append(bits, trainer.finish());
      const DeviceBatch& batch = trainer.batch();
      if (config.train.recompute != Recompute::kSegment) trainer.model().forward(batch, RetentionForm::kChunkwise);
      state.begin_copy();
    }
    trainer.queue([&] { state.hold_queue(); }, order_of(i));
    if (i > 0 && i % 4 != 0) append(bits, trainer.finish());
  }
  append(bits, trainer.finish());
  append_state(bits, trainer);
  return bits;
}

Config config_for(const std::string& directory, const StepVariant& variant) {
  Config config = tiny_config(directory);
  config.optimizer.lr = 0.01;
  config.optimizer.clip = 0.5;
  config.schedule.warmup_steps = 4;
  config.numerics.replay_every = 1;  // which the order asks for, of some steps
  variant.change(config);
  return config;
}

TEST(StepRecordings, AreTheStepsThatAreNotRecorded) {
  const TemporaryDirectory directory;
  write_tiny_text(directory.path());
  for (const StepVariant& variant : step_variants()) {
    for (const DType compute : {DType::kFloat32, DType::kFloat64}) {
      const Target target{.device = DeviceKind::kCpu, .compute = compute, .threads = 1};
      Config config = config_for(directory.path(), variant);
      config.train.graph = StepGraph::kOff;
      RecordingBackend plain, recorded;
      const Bits want = train(plain, config, target);
      EXPECT_EQ(plain.recordings, 0);
      config.train.graph = StepGraph::kAuto;
      EXPECT_EQ(train(recorded, config, target), want) << variant.name;
      EXPECT_GE(recorded.recordings, 3) << variant.name << ": a micro-batch, the norm, the update";
      EXPECT_LE(recorded.recordings, StepRecordings::kParts);
      EXPECT_GT(recorded.queued, 3 * (kSteps - 5)) << variant.name;
    }
  }
}

TEST(StepRecordings, OnAGpuAreTheStepsThatAreNotRecorded) {
  if (cuda_device_count() == 0) GTEST_SKIP() << "no GPU";
  const TemporaryDirectory directory;
  write_tiny_text(directory.path());
  for (const StepVariant& variant : step_variants()) {
    for (const Device& device : {kCudaFloat32, kCudaBfloat16}) {
      Config config = config_for(directory.path(), variant);
      device.place(config);
      const auto backend = device.make();  // one for both, because products are measured once
      config.train.graph = StepGraph::kOff;
      const Bits want = train(*backend, config, device.target());
      config.train.graph = StepGraph::kOn;
      EXPECT_EQ(train(*backend, config, device.target()), want) << variant.name << ", " << device.name;
    }
  }
}

/// What a run that is stopped after some steps, and continued, leaves: its losses, and the digest of its end.
std::vector<std::string> run_in_parts(Backend& backend, const Config& config, const Target& target) {
  RunDirectory(config.run.dir).create();
  for (const int64_t stop_after : {5, 100}) {
    const auto mesh = make_single_mesh();
    Log log({.directory = config.run.dir});
    TrainingRun run(backend, *mesh, log, config, target, identity_of(config), {}, nullptr);
    run.begin();
    int64_t polls = 0;
    run.run([&] { return Wishes{.stop = polls++ == stop_after}; });
  }
  std::vector<std::string> left = {digest_of(config.run.dir)};
  std::ifstream metrics(config.run.dir + "/metrics.jsonl");
  for (std::string line; std::getline(metrics, line);) {
    for (const char* key : {"\"loss\":", "\"valid_loss\":"}) {
      const size_t begin = line.find(key);
      if (begin != std::string::npos) left.push_back(line.substr(begin, line.find(',', begin) - begin));
    }
  }
  return left;
}

class RecordedRun : public ::testing::TestWithParam<Device> {};

TEST_P(RecordedRun, ThatIsValidatedSavedStoppedAndContinuedIsTheOneThatIsNot) {
  if (!GetParam().are_here(1)) GTEST_SKIP() << "no GPU";
  const TemporaryDirectory directory;
  write_tiny_text(directory.path());
  Config config = config_for(directory.path(), step_variants().front());
  GetParam().place(config);
  config.train.tokens = 12 * config.train.batch_tokens;
  config.data.valid = {{"text", directory.path() + "/text"}};
  config.eval = {.every = 3, .tokens = 256};
  config.checkpoint.every = 2;
  config.numerics.replay_every = 4;
  const auto gpu = GetParam().cuda ? GetParam().make() : nullptr;
  RecordingBackend cpu;
  Backend& backend = gpu ? *gpu : cpu;
  std::vector<std::vector<std::string>> left;
  for (const StepGraph graph : {StepGraph::kOff, StepGraph::kOn}) {
    config.train.graph = graph;
    config.run.dir = directory.path() + (graph == StepGraph::kOn ? "/recorded" : "/plain");
    left.push_back(run_in_parts(backend, config, GetParam().target()));
  }
  EXPECT_EQ(left[1], left[0]);
  EXPECT_GT(left[0].size(), 12U);
  EXPECT_TRUE(gpu || cpu.queued > 0);
}

INSTANTIATE_TEST_SUITE_P(Devices, RecordedRun, ::testing::Values(kCpu, kCudaFloat32, kCudaBfloat16),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(StepRecordings, AreMadeOfSmallMicroBatchesOfOneRankUnlessToldOtherwise) {
  Config config;
  config.train = {.tokens = 1 << 20, .batch_tokens = 16384, .micro_batch_tokens = 16384};
  config.model = {.layers = 4, .hidden_size = 160, .heads = 2, .ffn_size = 320, .vocab_size = 257};
  EXPECT_TRUE(records_steps(config, 1));
  EXPECT_FALSE(records_steps(config, 2));
  config.model = {};  // 1.4 B
  EXPECT_FALSE(records_steps(config, 1));
  config.train.graph = StepGraph::kOn;
  EXPECT_TRUE(records_steps(config, 1));
  EXPECT_FALSE(records_steps(config, 2));
  config.model = {.layers = 4, .hidden_size = 160, .heads = 2, .ffn_size = 320, .vocab_size = 257};
  config.train.graph = StepGraph::kOff;
  EXPECT_FALSE(records_steps(config, 1));
}

}  // namespace
}  // namespace retain::test
