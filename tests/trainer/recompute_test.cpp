// Levels of recompute: the same step with less memory, and sequences by segments.
#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <optional>

#include "tests/support/tiny_run.h"
#include "trainer/inference/evaluate.h"
#include "trainer/model/host_values.h"

namespace retain::test {
namespace {

struct Case {
  const char* name;
  Target target;
};

class RecomputeLevels : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    if (target().device == DeviceKind::kCuda && cuda_device_count() == 0) GTEST_SKIP() << "no GPU";
    write_tiny_text(directory_.path());
  }
  static const Target& target() { return GetParam().target; }

  Config tiny() const {
    Config config = tiny_config(directory_.path());
    config.device = target().device;
    if (target().device == DeviceKind::kCuda) config.train.chunk = 0;
    return config;
  }

  /// With heads that Hopper's own kernels take; chunks of 128, the last ragged.
  Config wide() const {
    Config config = tiny();
    config.model.layers = 1;
    config.model.hidden_size = 256;
    config.model.heads = 2;
    config.model.ffn = FfnKind::kGelu;
    config.data.seq_len = 150;
    config.train.micro_batch_tokens = config.train.batch_tokens = 2 * config.data.seq_len;
    return config;
  }

  static std::unique_ptr<Backend> make_backend(const Target& on) {
    return on.device == DeviceKind::kCuda ? make_cuda_backend(0) : make_cpu_backend(1);
  }
  static double tolerance() {
    switch (target().compute) {
      case DType::kFloat64: return 1e-10;
      case DType::kFloat32: return 1e-4;
      default: return 1e-2;
    }
  }

  struct Steps {
    std::vector<double> losses, gradients, weights;
  };
  /// Chooses products once for all trainings that are compared.
  Steps train(const Config& config) {
    const auto backend = make_backend(target());
    if (!tuning_.empty()) {
      EXPECT_EQ(backend->set_tuning(tuning_), "");
    }
    Steps steps = train(config, target(), *backend);
    tuning_ = backend->tuning();
    return steps;
  }
  static Steps train(const Config& config, const Target& on, Backend& backend) {
    const auto mesh = make_single_mesh();
    Trainer trainer(backend, *mesh, config, on);
    Steps steps;
    for (int i = 0; i < 3; ++i) steps.losses.push_back(trainer.step(i, {}, [] {}).loss);
    steps.gradients = download_wide(backend, trainer.parameters().flat_gradients());
    steps.weights = download_wide(backend, trainer.parameters().flat_weights());
    return steps;
  }

  static Steps exact_steps(Config config) {
    config.device = DeviceKind::kCpu;
    const Target exact{.device = DeviceKind::kCpu, .compute = DType::kFloat64, .threads = 1};
    return train(config, exact, *make_backend(exact));
  }

  void expect_same_bits(Config config) {
    config.train.recompute = Recompute::kNone;
    const Steps none = train(config);
    for (const Recompute level : {Recompute::kSelective, Recompute::kFull}) {
      SCOPED_TRACE(recompute_name(level));
      config.train.recompute = level;
      const Steps again = train(config);
      EXPECT_EQ(again.losses, none.losses);
      EXPECT_EQ(again.gradients, none.gradients);
      EXPECT_EQ(again.weights, none.weights);
    }
  }

  /// Within rounding of the whole sequences. Segments have other chunks, whose states bfloat16 rounds elsewhere: there
  /// the cut sequences may be as far from the exact gradient as the whole ones are.
  void expect_segments_agree(Config config, const std::vector<int64_t>& lengths) {
    config.train.recompute = Recompute::kNone;
    const Steps whole = train(config);
    const bool rounds = target().compute == DType::kBfloat16;
    const Steps exact = rounds ? exact_steps(config) : whole;
    const auto allowed = [&](const std::vector<double>& values, const std::vector<double>& want) {
      return rounds ? 1.5 * relative_error(values, want) : tolerance();
    };
    config.train.recompute = Recompute::kSegment;
    for (const int64_t length : lengths) {
      SCOPED_TRACE(concat("segments of ", length));
      config.train.segment_tokens = length;
      const Steps cut = train(config);
      for (size_t i = 0; i < whole.losses.size(); ++i) EXPECT_NEAR(cut.losses[i] / whole.losses[i], 1, tolerance());
      EXPECT_LE(relative_error(cut.gradients, exact.gradients), allowed(whole.gradients, exact.gradients));
      EXPECT_LE(relative_error(cut.weights, exact.weights), allowed(whole.weights, exact.weights));
      if (length < config.data.seq_len) continue;
      EXPECT_EQ(cut.gradients, whole.gradients) << "one segment is the whole sequence";
    }
  }

 private:
  TemporaryDirectory directory_;
  std::string tuning_;
};

TEST_P(RecomputeLevels, GiveTheBitsOfNone) { expect_same_bits(tiny()); }

TEST_P(RecomputeLevels, GiveTheBitsOfNoneInATiedModelWithRowsums) {
  Config config = tiny();
  config.model.layers = 3;
  config.model.tie_embeddings = true;
  config.model.embedding_norm = true;
  config.model.group_norm_eps = GroupNormEps::kRowsum;
  config.model.group_norm_affine = false;
  config.model.ffn = FfnKind::kGeglu;
  config.data.reset_state_at_documents = false;
  expect_same_bits(config);
}

TEST_P(RecomputeLevels, GiveTheBitsOfNoneWithWideHeads) { expect_same_bits(wide()); }

TEST_P(RecomputeLevels, SegmentsGiveTheGradientOfWholeSequences) {
  expect_segments_agree(tiny(), {1, 5, 8, 13, 16, 31, 32, 100});
}

TEST_P(RecomputeLevels, SegmentsGiveTheGradientOfWholeSequencesInOneDocument) {
  Config config = tiny();
  config.model.tie_embeddings = true;
  config.model.embedding_norm = true;
  config.model.group_norm_eps = GroupNormEps::kRowsum;
  config.model.ffn = FfnKind::kGeglu;
  config.model.rotary = Rotary::kTorchscale;
  config.data.reset_state_at_documents = false;
  config.train.micro_batch_tokens = config.train.batch_tokens;
  expect_segments_agree(config, {3, 24});
}

TEST_P(RecomputeLevels, SegmentsGiveTheGradientOfWholeSequencesWithWideHeads) {
  expect_segments_agree(wide(), {70, 128});
}

TEST_P(RecomputeLevels, SegmentsGiveTheValidationLossOfWholeSequences) {
  Config config = tiny();
  const auto loss = [&] {
    const auto backend = make_backend(target());
    const auto mesh = make_single_mesh();
    Trainer trainer(*backend, *mesh, config, target());
    const BatchShape& shape = trainer.model().dims().batch;
    const EvalWindows windows(TokenSet(config.data.train[0].path, config.model.vocab_size), config.data,
                              config.model.vocab_size, shape.sequences, mesh->shape(), mesh->at(), 300, std::nullopt,
                              shape.segment_tokens());
    return evaluate(*backend, *mesh, trainer.model(), windows, trainer.batch(), RetentionForm::kChunkwise).loss;
  };
  const double whole = loss();
  config.train.recompute = Recompute::kSegment;
  config.train.segment_tokens = 12;
  EXPECT_NEAR(loss() / whole, 1, tolerance());
}

INSTANTIATE_TEST_SUITE_P(
    Devices, RecomputeLevels,
    ::testing::Values(Case{"CpuFloat32", {.device = DeviceKind::kCpu, .compute = DType::kFloat32, .threads = 1}},
                      Case{"CpuFloat64", {.device = DeviceKind::kCpu, .compute = DType::kFloat64, .threads = 1}},
                      Case{"CudaFloat32", {.device = DeviceKind::kCuda, .compute = DType::kFloat32, .threads = 1}},
                      Case{"CudaBfloat16", {.device = DeviceKind::kCuda, .compute = DType::kBfloat16, .threads = 1}}),
    [](const auto& param) { return param.param.name; });

}  // namespace
}  // namespace retain::test
