// Any number of replicas, gradients that travel rounded, and how often replicas exchange anything.
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstdio>
#include <mutex>

#include "tests/support/counting_communicator.h"
#include "tests/support/late_communicator.h"
#include "tests/support/ranks.h"
#include "tests/support/tiny_run.h"
#include "trainer/inference/evaluate.h"

namespace retain::test {
namespace {

// Those that take sequences of 32 tokens and 4 heads.
std::vector<MeshShape> tiny_meshes_of(int ranks) {
  std::vector<MeshShape> meshes = meshes_of(ranks);
  std::erase_if(meshes, [](const MeshShape& mesh) { return 32 % mesh.cp != 0 || 4 % mesh.tp != 0; });
  return meshes;
}

// Rounding to 8 bits is 2^-9 of an element at most, 0.29 of that in the mean of squares over all; each rank's part is
// rounded, and the sum once more. Where parts cancel, more of the sum is lost. The largest difference here is 3.1e-3 of
// a gradient, and 1.8e-6 nats of a loss in 20 steps of warm-up.
TEST(Replicas, GradientsThatTravelAsBfloat16DifferByTheirRounding) {
  const TemporaryDirectory directory;
  write_tiny_text(directory.path());
  Config config = tiny_config(directory.path());
  config.train.micro_batch_tokens = 32;
  const TinyResult exact = train_tiny(config, DType::kFloat32, 20, make_self_communicator());
  double largest = 0, loss = 0;
  std::mutex mutex;
  on_every_group([&](Communicator& group) {
    if (group.size() == 1) return;
    Config here = config;
    here.parallel.gradient_dtype = GradientType::kBf16;
    std::vector<TinyResult> levels;
    for (const int zero : {0, 1, 2}) {
      SCOPED_TRACE(concat(group.size(), " replicas, zero=", zero));
      here.parallel.zero = zero;
      levels.push_back(train_tiny(here, DType::kFloat32, 20, group.split(0, group.rank())));
      const TinyResult& rounded = levels.back();
      const std::lock_guard lock(mutex);
      for (size_t p = 0; p < exact.first_gradients.size(); ++p) {
        const double error = relative_error(rounded.first_gradients[p], exact.first_gradients[p]);
        largest = std::max(largest, error);
        EXPECT_LE(error, 1.0 / 256) << "parameter " << p;
        EXPECT_GE(error, 1e-4) << "parameter " << p << " was not rounded";
      }
      for (size_t i = 0; i < exact.losses.size(); ++i) {
        loss = std::max(loss, std::abs(rounded.losses[i] - exact.losses[i]));
        EXPECT_NEAR(rounded.losses[i], exact.losses[i], 1e-5) << "step " << i;
      }
    }
    EXPECT_EQ(levels[0].losses, levels[1].losses);
    EXPECT_EQ(levels[0].weights, levels[1].weights);
  });
  std::printf("largest difference of a gradient %.2g, of a loss %.2g\n", largest, loss);
}

TEST(Replicas, RoundedCopiesAreAllocatedAsPlannedAndUsedInTheirTurn) {
  const TemporaryDirectory directory;
  write_tiny_text(directory.path());
  const MakeTensorGroup late = [](std::unique_ptr<Communicator> group) {
    return std::make_unique<LateCommunicator>(std::move(group));
  };
  on_every_group([&](Communicator& group) {
    if (group.size() != 2 && group.size() != 3) return;
    for (const int zero : {0, 1, 2}) {
      SCOPED_TRACE(concat(group.size(), " replicas, zero=", zero));
      Config config = tiny_config(directory.path());
      config.model.tie_embeddings = zero == 1;
      config.parallel.zero = zero;
      config.parallel.gradient_dtype = GradientType::kBf16;
      const Target target{.device = DeviceKind::kCpu, .compute = DType::kFloat32, .threads = 1};
      const RunPlan plan = make_plan(config, group.size(), target);
      {
        const auto backend = make_cpu_backend(1);
        Mesh mesh(plan.mesh, group.split(0, group.rank()));
        Trainer trainer(*backend, mesh, config, target);
        trainer.step(0, {}, [] {});
        EXPECT_EQ(backend->allocated_bytes(), plan.memory_bytes());
      }
      const TinyResult at_once = train_tiny(config, DType::kFloat32, 2, group.split(0, group.rank()));
      const TinyResult at_last = train_tiny(config, DType::kFloat32, 2, group.split(0, group.rank()), late);
      EXPECT_EQ(at_last.losses, at_once.losses);
      EXPECT_EQ(at_last.first_gradients, at_once.first_gradients);
      EXPECT_EQ(at_last.weights, at_once.weights);
    }
  });
}

// 7 windows: the last replicas have none in the last round.
TEST(Replicas, EvaluateUnevenWindowsAsOneRankDoes) {
  const TemporaryDirectory directory;
  write_tiny_text(directory.path());
  Config config = tiny_config(directory.path());
  config.train.micro_batch_tokens = 32;
  const auto evaluated = [&](const MeshShape& shape, std::unique_ptr<Communicator> ranks) {
    Config here = config;
    here.parallel = {.dp = shape.dp, .cp = shape.cp, .tp = shape.tp};
    const auto backend = make_cpu_backend(1);
    Mesh mesh(shape, std::move(ranks));
    Trainer trainer(*backend, mesh, here, {.device = DeviceKind::kCpu, .compute = DType::kFloat64, .threads = 1});
    const EvalWindows windows(TokenSet(directory.path() + "/text"), here.data, here.model.vocab_size, 1, shape,
                              mesh.at(), int64_t{7} * 32);
    EXPECT_EQ(windows.windows(), 7);
    return evaluate(*backend, mesh, trainer.model(), windows, trainer.batch(), RetentionForm::kChunkwise);
  };
  on_every_group([&](Communicator& group) {
    const EvalResult one = evaluated({}, make_self_communicator());
    for (const MeshShape& mesh : tiny_meshes_of(group.size())) {
      const EvalResult many = evaluated(mesh, group.split(0, group.rank()));
      EXPECT_EQ(many.tokens, one.tokens) << mesh.describe();
      EXPECT_NEAR(many.loss, one.loss, 1e-12) << mesh.describe();
    }
  });
}

// A window that one rank cannot read ends the evaluation of all, with its reason.
TEST(Replicas, AnEvaluationThatOneRankCannotReadEndsOnAll) {
  const TemporaryDirectory directory;
  write_tiny_text(directory.path());
  Config config = tiny_config(directory.path());
  config.train.micro_batch_tokens = 32;
  spoil_token(directory.path() + "/text", 3 * 32 + 5);
  on_every_group([&](Communicator& group) {
    Config here = config;
    here.parallel.dp = group.size();
    const auto backend = make_cpu_backend(1);
    Mesh mesh({.dp = group.size()}, group.split(0, group.rank()));
    Trainer trainer(*backend, mesh, here, {.device = DeviceKind::kCpu, .compute = DType::kFloat64, .threads = 1});
    const EvalWindows windows(TokenSet(directory.path() + "/text", here.model.vocab_size), here.data,
                              here.model.vocab_size, 1, mesh.shape(), mesh.at(), int64_t{7} * 32);
    try {
      evaluate(*backend, mesh, trainer.model(), windows, trainer.batch(), RetentionForm::kChunkwise);
      ADD_FAILURE() << "a token beyond the vocabulary was taken";
    } catch (const SharedError& e) {
      EXPECT_EQ(e.kind(), ErrorKind::kData);
      EXPECT_NE(std::string(e.what()).find("text"), std::string::npos) << e.what();
    }
  });
}

// Of a step: what is exchanged of gradients and weights is one collective a bucket; of the norm and the loss one
// message over the replicas, of the norm one over tp. All ranks of a group begin the same, a replica that sits out too.
TEST(Replicas, TheNormIsOneSmallMessageAGroup) {
  const TemporaryDirectory directory;
  write_tiny_text(directory.path());
  on_every_group([&](Communicator& group) {
    for (const MeshShape& mesh : tiny_meshes_of(group.size())) {
      for (const int zero : {0, 1, 2}) {
        SCOPED_TRACE(concat(mesh.describe(), " zero=", zero));
        Config config = tiny_config(directory.path());
        config.train.micro_batch_tokens = 32;
        config.train.batch_tokens = int64_t{7} * 32;
        config.parallel = {.dp = mesh.dp, .cp = mesh.cp, .tp = mesh.tp, .zero = zero};
        std::array<CountingCommunicator::Counts, 3> counts;  // tp, cp, replicas: in the order of the mesh
        size_t made = 0;
        const MakeTensorGroup counting = [&](std::unique_ptr<Communicator> host_group) {
          return std::make_unique<CountingCommunicator>(std::move(host_group), counts.at(made++));
        };
        const auto backend = make_cpu_backend(1);
        Mesh over(mesh, group.split(0, group.rank()), counting);
        Trainer trainer(*backend, over, config, {.device = DeviceKind::kCpu, .compute = DType::kFloat32, .threads = 1},
                        kTinyBucket);
        counts = {};
        trainer.step(0, {}, [] {});
        trainer.parameters().await_weights(0);
        const auto& [tp, cp, replicas] = counts;
        const auto buckets = static_cast<int64_t>(trainer.reducer().buckets().size());
        const int64_t rounds = mesh.dp * mesh.cp > 1 && zero == 2 ? (7 + mesh.dp - 1) / mesh.dp : 1;
        CountingCommunicator::Counts want = {{"small all_reduce", 1}};
        const bool scattered = zero > 0 || mesh.dp * mesh.cp == 1;
        want[scattered ? "reduce_scatter" : "all_reduce"] = rounds * buckets;
        if (scattered) want["all_gather"] = buckets;
        EXPECT_EQ(replicas, want);
        EXPECT_EQ(tp.at("small all_reduce"), 1);
        EXPECT_FALSE(cp.contains("small all_reduce"));
      }
    }
  });
}

// 7 micro-batches a step: on 2, 3 and 4 replicas 4 + 3, 3 + 2 + 2 and 2 + 2 + 2 + 1, on 7 one each. A replica without a
// micro-batch takes part in the same exchanges, also where these are late.
TEST(Replicas, AnyNumberOfReplicasFollowsOneRank) {
  const TemporaryDirectory directory;
  write_tiny_text(directory.path());
  const MakeTensorGroup late = [](std::unique_ptr<Communicator> group) {
    return std::make_unique<LateCommunicator>(std::move(group));
  };
  Config config = tiny_config(directory.path());
  config.train.micro_batch_tokens = 32;
  config.train.batch_tokens = int64_t{7} * 32;
  const TinyResult one = train_tiny(config, DType::kFloat64, 8, make_self_communicator());
  on_every_group([&](Communicator& group) {
    for (const MeshShape& mesh : tiny_meshes_of(group.size())) {
      if (mesh.dp == 1) continue;
      for (const int zero : {0, 1, 2, 12}) {  // 12: level 2, each sequence in two segments
        SCOPED_TRACE(concat(mesh.describe(), " zero=", zero));
        Config here = config;
        here.parallel = {.dp = mesh.dp, .cp = mesh.cp, .tp = mesh.tp, .zero = zero % 10};
        if (zero > 10) {
          here.train.recompute = Recompute::kSegment;
          here.train.segment_tokens = 16;
        }
        const TinyResult many = train_tiny(here, DType::kFloat64, 8, group.split(0, group.rank()), late);
        for (size_t i = 0; i < one.losses.size(); ++i) EXPECT_NEAR(many.losses[i], one.losses[i], 1e-8) << "step " << i;
        for (size_t p = 0; p < one.first_gradients.size(); ++p)
          EXPECT_LE(relative_error(many.first_gradients[p], one.first_gradients[p]), 1e-10) << "parameter " << p;
      }
    }
  });
}

}  // namespace
}  // namespace retain::test
