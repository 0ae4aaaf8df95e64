// A checkpoint of any mesh continues on any other: the state is the same to the last bit, and the losses follow those
// of the run that was not interrupted; on the same mesh they are equal. RETAIN_FAULT_FULL=1 continues every pair, where
// the short form continues one of two levels of ZeRO for each pair of meshes, and loads on all three.
#include <gtest/gtest.h>

#include <cstdlib>
#include <mutex>

#include "tests/support/ranks.h"
#include "tests/support/tiny_checkpoint.h"
#include "tests/support/tiny_run.h"
#include "trainer/checkpoint/trainer_state.h"

namespace retain::test {
namespace {

constexpr int64_t kSavedStep = 5, kStepsAfter = 20;

const std::vector<MeshShape> kMeshes = {{1, 1, 1}, {2, 1, 1}, {1, 2, 1}, {1, 1, 2}, {2, 1, 2},
                                        {2, 2, 1}, {1, 2, 2}, {4, 1, 1}, {3, 1, 1}};  // 4 micro-batches: 2 + 1 + 1

struct Way {
  MeshShape mesh;
  int zero = 0;
  bool operator==(const Way& other) const {
    return mesh.dp == other.mesh.dp && mesh.cp == other.mesh.cp && mesh.tp == other.mesh.tp && zero == other.zero;
  }
  std::string describe() const { return concat(mesh.describe(), " zero=", zero); }
};

Config config_of(const std::string& directory, const Way& way) {
  Config config = tiny_config(directory);
  config.model.hidden_size = 16;
  config.model.ffn_size = 24;
  config.data.seq_len = 16;
  config.train = {.tokens = 400 * 64, .batch_tokens = 64, .micro_batch_tokens = 16, .chunk = 4};
  config.parallel = {.dp = way.mesh.dp, .cp = way.mesh.cp, .tp = way.mesh.tp, .zero = way.zero};
  return config;
}

// Runs `body` with a trainer on every rank of the way; rank 0's losses are what counts.
void train_on(
    const std::string& directory, const Way& way, DType compute, const std::function<void(Trainer&)>& body,
    const std::function<void(Config&)>& change = [](Config&) {}) {
  run_ranks(way.mesh.ranks(), [&](Communicator& group) {
    const auto backend = make_cpu_backend(1);
    Mesh mesh(way.mesh, group.split(0, group.rank()));
    Config config = config_of(directory, way);
    change(config);
    // From large buckets to small ones and back.
    const int64_t bucket = way.zero == 0 ? kBucketElements : kTinyBucket;
    Trainer trainer(*backend, mesh, config, {.device = DeviceKind::kCpu, .compute = compute, .threads = 1}, bucket);
    body(trainer);
  });
}

void take_losses(Trainer& trainer, int64_t from, int64_t to, std::vector<double>& losses) {
  for (int64_t step = from; step < to; ++step) {
    const double loss = trainer.step(step, {}, [] {}).loss;
    if (trainer.mesh().world_rank() == 0) losses.push_back(loss);
  }
}

void continue_everywhere(DType compute, double tolerance) {
  const bool full = std::getenv("RETAIN_FAULT_FULL") != nullptr;
  const TemporaryDirectory directory;
  write_tiny_text(directory.path());
  const size_t count = kMeshes.size();
  int continued = 0;
  for (size_t i = 0; i < count * (full ? 2 : 1); ++i) {
    const Way from{kMeshes[i % count], static_cast<int>((i + i / count) % 2)};
    const std::string saved = concat(directory.path(), "/from-", i);
    std::vector<double> undisturbed;
    train_on(directory.path(), from, compute, [&](Trainer& trainer) {
      std::vector<double> before;
      take_losses(trainer, 0, kSavedStep, before);
      save_state(trainer, saved, kSavedStep);
      take_losses(trainer, kSavedStep, kSavedStep + kStepsAfter, undisturbed);
    });
    const std::string digest = digest_of(saved);
    for (size_t j = 0; j < 3 * count; ++j) {
      const Way to{kMeshes[j % count], static_cast<int>(j / count)};
      SCOPED_TRACE(from.describe() + " -> " + to.describe());
      const bool same = from == to;
      const bool trains =
          full || same || (to.mesh.describe() != from.mesh.describe() && (i + j % count) % 2 == j / count);
      const std::string again = concat(directory.path(), "/again");
      std::vector<double> losses;
      train_on(directory.path(), to, compute, [&](Trainer& trainer) {
        load_state(trainer, saved);
        save_state(trainer, again, kSavedStep);
        if (trains) take_losses(trainer, kSavedStep, kSavedStep + kStepsAfter, losses);
      });
      ASSERT_EQ(digest_of(again), digest);
      for (size_t step = 0; step < losses.size(); ++step) {
        if (same) {
          ASSERT_EQ(losses[step], undisturbed[step]) << "step " << step << " after the resume";
        } else {
          ASSERT_NEAR(losses[step], undisturbed[step], tolerance) << "step " << step << " after the resume";
        }
      }
      continued += trains ? 1 : 0;
    }
  }
  std::printf("%d resumes trained on\n", continued);
}

TEST(Resume, GoesThroughTheMemoryThatSavesArePlannedWith) {
  const TemporaryDirectory directory;
  write_tiny_text(directory.path());
  for (const int zero : {0, 1}) {
    train_on(directory.path(), {{2, 1, 1}, zero}, DType::kFloat32, [](Trainer& trainer) {
      const HostState staging(trainer.backend(), trainer.parameters(), trainer.reducer().share());
      StateLoad load(trainer.parameters(), trainer.mesh().at().tp, staging);
      const FlatState into = load.target([](const RunState&) {}).into;
      EXPECT_EQ(into.share, trainer.reducer().share());
      EXPECT_EQ(into.master.data, staging.flat().master.data);
    });
  }
}

TEST(Resume, WeightsAloneComeToEveryMeshAndTheMomentsStayZero) {
  const TemporaryDirectory directory;
  write_tiny_text(directory.path());
  const std::string saved = directory.path() + "/saved";
  std::vector<std::vector<double>> want;
  train_on(directory.path(), {{2, 1, 2}, 1}, DType::kFloat32, [&](Trainer& trainer) {
    std::vector<double> losses;
    take_losses(trainer, 0, kSavedStep, losses);
    save_state(trainer, saved, kSavedStep);
    trainer.parameters().await_weights(0);
    std::vector<std::vector<double>> weights = gather_whole(trainer, trainer.parameters().flat_weights());
    if (trainer.mesh().world_rank() == 0) want = std::move(weights);
  });
  for (const DType compute : {DType::kFloat32, DType::kFloat64}) {
    for (size_t i = 0; i < kMeshes.size(); ++i) {
      const Way way{kMeshes[i], static_cast<int>(i % 3)};
      SCOPED_TRACE(way.describe());
      train_on(directory.path(), way, compute, [&](Trainer& trainer) {
        load_state(trainer, saved, LoadedPart::kWeights);
        trainer.parameters().await_weights(0);
        EXPECT_EQ(gather_whole(trainer, trainer.parameters().flat_weights()), want);
        for (const SharePiece& piece : trainer.parameters().updated().pieces()) {
          const TensorView moment = trainer.parameters().moment1(piece);
          std::vector<char> bytes(static_cast<size_t>(moment.bytes())), zeros(bytes.size());
          trainer.backend().download(bytes.data(), moment);
          EXPECT_EQ(bytes, zeros);
        }
      });
    }
  }
}

// 4 replicas, of which one is lost: 7 micro-batches a step are 2 + 2 + 2 + 1, then 3 + 2 + 2.
TEST(Resume, OnWhatIsLeftOfAClusterContinuesTheLoss) {
  const TemporaryDirectory directory;
  write_tiny_text(directory.path());
  const auto seven = [](Config& config) { config.train.batch_tokens = 7 * config.train.micro_batch_tokens; };
  for (const int zero : {0, 1, 2}) {
    std::vector<double> undisturbed, losses;
    train_on(
        directory.path(), {{4, 1, 1}, zero}, DType::kFloat64,
        [&](Trainer& trainer) {
          std::vector<double> before;
          take_losses(trainer, 0, kSavedStep, before);
          save_state(trainer, directory.path() + "/four", kSavedStep);
          take_losses(trainer, kSavedStep, kSavedStep + kStepsAfter, undisturbed);
        },
        seven);
    train_on(
        directory.path(), {{3, 1, 1}, zero}, DType::kFloat64,
        [&](Trainer& trainer) {
          load_state(trainer, directory.path() + "/four");
          take_losses(trainer, kSavedStep, kSavedStep + kStepsAfter, losses);
        },
        seven);
    ASSERT_EQ(losses.size(), undisturbed.size());
    for (size_t step = 0; step < losses.size(); ++step)
      EXPECT_NEAR(losses[step], undisturbed[step], 1e-9) << "zero " << zero << ", step " << step;
  }
}

TEST(Resume, OnAnyOtherMeshContinuesTheLossInFloat64) { continue_everywhere(DType::kFloat64, 1e-6); }

TEST(Resume, OnAnyOtherMeshContinuesTheLossInFloat32) { continue_everywhere(DType::kFloat32, 1e-5); }

}  // namespace
}  // namespace retain::test
