// Every layout of 1, 2 and 4 ranks follows the one-rank run, over threads and over MPI processes.
#include <gtest/gtest.h>

#include <array>
#include <cmath>

#include "parallel/agreement.h"
#include "tests/support/late_communicator.h"
#include "tests/support/ranks.h"
#include "tests/support/tiny_run.h"
#include "trainer/tp_chunks.h"

namespace retain::test {
namespace {

struct Variant {
  const char* name;
  std::function<void(Config&)> change;
};

std::vector<Variant> variants() {
  return {{"default", [](Config&) {}},
          {"rowsum_tied_geglu_without_zero",
           [](Config& c) {
             c.model.group_norm_eps = GroupNormEps::kRowsum;
             c.model.tie_embeddings = true;
             c.model.ffn = FfnKind::kGeglu;
             c.model.rotary = Rotary::kTorchscale;
             c.model.embedding_norm = true;
             c.model.head_norm_eps = 1e-2;
             c.model.init = Init::kTorchscale;
             c.model.base_width = 16;
             c.data.end_token_before_windows = true;
             c.optimizer.lr = 6e-3;
             c.parallel.zero = 0;
             c.parallel.tp_chunks = 3;
           }},
          {"one_document_a_sequence_with_zero_two", [](Config& c) {
             c.data.reset_state_at_documents = false;
             c.train.chunk = 5;
             c.model.ffn = FfnKind::kGelu;
             c.model.decay = Decay::kPaperExp;
             c.model.group_norm_affine = false;
             c.model.init = Init::kDepthScaled;
             c.model.base_width = 8;
             c.data.end_token_before_windows = true;
             c.optimizer.lr = 6e-3;
             c.parallel.zero = 2;
             c.parallel.tp_chunks = 4;
           }}};
}

// Trains on one rank inside each rank, then on the whole group in every layout, and compares.
void compare_layouts(Communicator& group, const std::string& directory, DType compute, double loss_tolerance,
                     double gradient_tolerance) {
  for (const Variant& variant : variants()) {
    Config config = tiny_config(directory);
    variant.change(config);
    const TinyResult one = train_tiny(config, compute, 20, make_self_communicator());
    ASSERT_LT(one.losses.back(), one.losses.front()) << "nothing was learned: the comparison would be empty";
    for (const MeshShape& mesh : meshes_of(group.size())) {
      config.parallel.cp = mesh.cp;
      config.parallel.tp = mesh.tp;
      const TinyResult many = train_tiny(config, compute, 20, group.split(0, group.rank()));
      const std::string where = std::string(variant.name) + " " + mesh.describe();
      for (size_t i = 0; i < one.losses.size(); ++i) {
        EXPECT_NEAR(many.losses[i], one.losses[i], loss_tolerance) << where << " step " << i;
      }
      EXPECT_NEAR(many.grad_norms[0] / one.grad_norms[0], 1, gradient_tolerance) << where;
      for (size_t p = 0; p < one.first_gradients.size(); ++p) {
        EXPECT_LE(relative_error(many.first_gradients[p], one.first_gradients[p]), gradient_tolerance)
            << where << " gradient of parameter " << p;
      }
    }
  }
}

// The text is written once a process by whoever comes first; MPI ranks each have their own folder.
TEST(Layouts, FollowOneRankInFloat64) {
  const TemporaryDirectory directory;
  write_tiny_text(directory.path());
  on_every_group([&](Communicator& group) {
    if (group.size() == 1 || group.size() == 2 || group.size() == 4) {
      compare_layouts(group, directory.path(), DType::kFloat64, 1e-8, 1e-9);
    }
  });
}

TEST(Layouts, FollowOneRankInFloat32) {
  const TemporaryDirectory directory;
  write_tiny_text(directory.path());
  on_every_group([&](Communicator& group) {
    if (group.size() == 1 || group.size() == 2 || group.size() == 4) {
      compare_layouts(group, directory.path(), DType::kFloat32, 1e-5, 1e-5);
    }
  });
}

TEST(Layouts, AreAllocatedAsPlannedAtEveryLevelOfZero) {
  const TemporaryDirectory directory;
  write_tiny_text(directory.path());
  on_every_group([&](Communicator& group) {
    if (group.size() != 2 && group.size() != 4) return;
    for (const MeshShape& mesh : meshes_of(group.size())) {
      for (const int zero : {0, 1, 2}) {
        Config config = tiny_config(directory.path());
        config.parallel = {.dp = mesh.dp, .cp = mesh.cp, .tp = mesh.tp, .tp_chunks = 3, .zero = zero};
        const Target target{.device = DeviceKind::kCpu, .compute = DType::kFloat32, .threads = 1};
        const RunPlan plan = make_plan(config, group.size(), target);
        const auto backend = make_cpu_backend(1);
        Mesh ranks(mesh, group.split(0, group.rank()));
        Trainer trainer(*backend, ranks, config, target);
        trainer.step(0, {}, [] {});
        EXPECT_EQ(backend->allocated_bytes(), plan.memory_bytes()) << mesh.describe() << " zero " << zero;
      }
    }
  });
}

TEST(Layouts, AreAllocatedAsPlannedOverEveryAxis) {
  const TemporaryDirectory directory;
  write_tiny_text(directory.path());
  on_every_group([&](Communicator& group) {
    if (group.size() != 2 && group.size() != 4) return;
    for (const MeshShape& mesh : meshes_of(group.size())) {
      for (const Recompute level : {Recompute::kNone, Recompute::kSelective, Recompute::kFull}) {
        Config config = tiny_config(directory.path());
        config.parallel = {.dp = mesh.dp, .cp = mesh.cp, .tp = mesh.tp};
        config.train.recompute = level;
        const Target target{.device = DeviceKind::kCpu, .compute = DType::kFloat32, .threads = 1};
        const RunPlan plan = make_plan(config, group.size(), target);
        const auto backend = make_cpu_backend(1);
        Mesh ranks(plan.mesh, group.split(0, group.rank()));
        Trainer trainer(*backend, ranks, config, target);
        trainer.step(0, {}, [] {});
        EXPECT_EQ(backend->allocated_bytes(), plan.memory_bytes())
            << mesh.describe() << ", level " << static_cast<int>(level);
      }
    }
  });
}

// Rows that the ranks of tp do not divide are padded, whatever the chunks, and what is computed again is too.
TEST(Layouts, TensorParallelRanksNeedNotDivideTheRows) {
  const TemporaryDirectory directory;
  write_tiny_text(directory.path());
  on_every_group([&](Communicator& group) {
    if (group.size() != 2 && group.size() != 3) return;
    for (const int64_t tokens : {5, 7, 13}) {
      Config config = tiny_config(directory.path());
      config.model.heads = 6;
      config.model.hidden_size = 24;
      config.model.embedding_norm = tokens == 7;
      config.data.seq_len = config.train.micro_batch_tokens = tokens;
      config.train.batch_tokens = 2 * tokens;
      const TinyResult one = train_tiny(config, DType::kFloat64, 3, make_self_communicator());
      config.parallel.tp = group.size();
      for (const int64_t chunks : {1, 2, 3}) {
        config.parallel.tp_chunks = chunks;
        config.train.recompute = kRecomputeLevels[static_cast<size_t>((tokens + chunks) % 4)];
        const TinyResult many = train_tiny(config, DType::kFloat64, 3, group.split(0, group.rank()));
        SCOPED_TRACE(concat(tokens, " tokens over ", group.size(), " ranks in ", chunks, " chunks"));
        for (size_t i = 0; i < one.losses.size(); ++i) EXPECT_NEAR(many.losses[i], one.losses[i], 1e-8) << i;
        for (size_t p = 0; p < one.first_gradients.size(); ++p)
          EXPECT_LE(relative_error(many.first_gradients[p], one.first_gradients[p]), 1e-9) << "parameter " << p;
        for (size_t p = 0; p < one.weights.size(); ++p)
          EXPECT_LE(relative_error(many.weights[p], one.weights[p]), 1e-8) << "parameter " << p;
      }
    }
  });
}

// Rows that a rank holds are cut anew, and nothing else changes.
TEST(Layouts, ChunksThatAreMeasuredAreTheSameOnEveryRank) {
  const TemporaryDirectory directory;
  write_tiny_text(directory.path());
  on_every_group([&](Communicator& group) {
    if (group.size() != 2 && group.size() != 4) return;
    Config config = tiny_config(directory.path());
    config.parallel.tp = 2;
    const double loss = train_tiny(config, DType::kFloat32, 1, group.split(0, group.rank())).losses.front();
    const auto backend = make_cpu_backend(1);
    Mesh mesh(config.mesh(group.size()), group.split(0, group.rank()));
    Trainer trainer(*backend, mesh, config, {.device = DeviceKind::kCpu, .compute = DType::kFloat32, .threads = 1});
    EXPECT_FALSE(measures_tp_chunks(trainer)) << "on a CPU";
    measure_tp_chunks(trainer);
    const auto chunks = static_cast<int32_t>(trainer.model().tp_chunks());
    int32_t least = chunks, most = chunks;
    mesh.host().all_reduce(TensorView(&least, DType::kInt32, {1}), ReduceOp::kMin).wait();
    mesh.host().all_reduce(TensorView(&most, DType::kInt32, {1}), ReduceOp::kMax).wait();
    EXPECT_EQ(least, most);
    EXPECT_NEAR(trainer.step(0, {}, [] {}).loss, loss, 1e-5);
  });
}

// On a device exchanges run beside the computation. What uses a result before it waited, or changes an operand, shows.
TEST(Layouts, UseNothingBeforeItsExchangeIsDone) {
  const TemporaryDirectory directory;
  write_tiny_text(directory.path());
  const MakeTensorGroup late = [](std::unique_ptr<Communicator> group) {
    return std::make_unique<LateCommunicator>(std::move(group));
  };
  on_every_group([&](Communicator& group) {
    if (group.size() != 2 && group.size() != 4) return;
    for (const MeshShape& mesh : meshes_of(group.size())) {
      for (const int zero : {0, 1, 2}) {
        Config config = tiny_config(directory.path());
        config.model.tie_embeddings = zero == 1;
        config.parallel = {.dp = mesh.dp, .cp = mesh.cp, .tp = mesh.tp, .tp_chunks = 1 + zero, .zero = zero};
        config.train.recompute = std::array{Recompute::kNone, Recompute::kFull, Recompute::kSegment}[zero];
        config.train.segment_tokens = zero == 2 ? 12 : 0;
        SCOPED_TRACE(concat(mesh.describe(), " zero=", zero));
        const TinyResult at_once = train_tiny(config, DType::kFloat32, 2, group.split(0, group.rank()));
        const TinyResult at_last = train_tiny(config, DType::kFloat32, 2, group.split(0, group.rank()), late);
        EXPECT_EQ(at_last.losses, at_once.losses);
        EXPECT_EQ(at_last.grad_norms, at_once.grad_norms);
        EXPECT_EQ(at_last.first_gradients, at_once.first_gradients);
        EXPECT_EQ(at_last.weights, at_once.weights);
      }
    }
  });
}

// What backward computes again it computes as the forward did.
TEST(Layouts, RecomputeChangesNoBit) {
  const TemporaryDirectory directory;
  write_tiny_text(directory.path());
  on_every_group([&](Communicator& group) {
    if (group.size() != 2 && group.size() != 4) return;
    for (const MeshShape& mesh : meshes_of(group.size())) {
      Config config = tiny_config(directory.path());
      config.parallel = {.dp = mesh.dp, .cp = mesh.cp, .tp = mesh.tp, .tp_chunks = 2, .zero = std::min(mesh.dp, 2)};
      const auto train = [&](Recompute level) {
        config.train.recompute = level;
        return train_tiny(config, DType::kFloat32, 2, group.split(0, group.rank()));
      };
      const TinyResult none = train(Recompute::kNone);
      for (const Recompute level : {Recompute::kSelective, Recompute::kFull}) {
        SCOPED_TRACE(concat(mesh.describe(), " ", recompute_name(level)));
        const TinyResult again = train(level);
        EXPECT_EQ(again.losses, none.losses);
        EXPECT_EQ(again.grad_norms, none.grad_norms);
        EXPECT_EQ(again.first_gradients, none.first_gradients);
        EXPECT_EQ(again.weights, none.weights);
      }
    }
  });
}

// Sequences by segments, each cut over cp: whole ones, ragged ones, and with more ranks than chunks.
TEST(Layouts, SegmentsFollowOneRankInFloat64) {
  const TemporaryDirectory directory;
  write_tiny_text(directory.path());
  on_every_group([&](Communicator& group) {
    if (group.size() != 1 && group.size() != 2 && group.size() != 4) return;
    for (const bool tied : {false, true}) {
      Config config = tiny_config(directory.path());
      config.model.tie_embeddings = tied;
      config.data.reset_state_at_documents = !tied;
      const int steps = tied ? 4 : 20;
      const TinyResult one = train_tiny(config, DType::kFloat64, steps, make_self_communicator());
      config.train.recompute = Recompute::kSegment;
      for (const MeshShape& mesh : meshes_of(group.size())) {
        for (const int zero : {0, 1, 2}) {
          config.parallel = {.dp = mesh.dp, .cp = mesh.cp, .tp = mesh.tp, .zero = zero};
          config.train.segment_tokens = std::array{16, 12, 4}[zero];
          SCOPED_TRACE(concat(mesh.describe(), ", zero ", zero, ", segments of ", config.train.segment_tokens));
          const TinyResult many = train_tiny(config, DType::kFloat64, steps, group.split(0, group.rank()));
          for (size_t i = 0; i < one.losses.size(); ++i) EXPECT_NEAR(many.losses[i], one.losses[i], 1e-8) << i;
          EXPECT_NEAR(many.grad_norms[0] / one.grad_norms[0], 1, 1e-10);
          for (size_t p = 0; p < one.first_gradients.size(); ++p) {
            EXPECT_LE(relative_error(many.first_gradients[p], one.first_gradients[p]), 1e-10) << "parameter " << p;
          }
        }
      }
    }
  });
}

// Sizes that nothing divides, gradients that are reduced once a micro-batch.
TEST(Layouts, ZeroTwoFollowsZeroOneAndIsItInOneMicroBatch) {
  const TemporaryDirectory directory;
  write_tiny_text(directory.path());
  on_every_group([&](Communicator& group) {
    if (group.size() != 2 && group.size() != 4) return;
    for (const MeshShape& mesh : meshes_of(group.size())) {
      for (const bool tied : {false, true}) {
        Config config = tiny_config(directory.path());
        config.model.layers = 3;
        config.model.hidden_size = 24;
        config.model.ffn_size = 44;
        config.model.tie_embeddings = tied;
        config.parallel = {.dp = mesh.dp, .cp = mesh.cp, .tp = mesh.tp};
        for (const int64_t micro_batches : {1, 2}) {
          config.train.micro_batch_tokens = config.train.batch_tokens / mesh.dp / micro_batches;
          const auto train = [&](int zero) {
            config.parallel.zero = zero;
            return train_tiny(config, DType::kFloat32, 4, group.split(0, group.rank()));
          };
          const TinyResult one = train(1), two = train(2);
          SCOPED_TRACE(concat(mesh.describe(), ", tied ", tied, ", ", micro_batches, " micro-batches"));
          for (size_t i = 0; i < one.losses.size(); ++i)
            EXPECT_NEAR(two.losses[i], one.losses[i], 1e-5) << "step " << i;
          if (micro_batches > 1) continue;
          EXPECT_EQ(two.losses, one.losses);
          EXPECT_EQ(two.grad_norms, one.grad_norms);
          EXPECT_EQ(two.first_gradients, one.first_gradients);
          EXPECT_EQ(two.weights, one.weights);
        }
      }
    }
  });
}

}  // namespace
}  // namespace retain::test
