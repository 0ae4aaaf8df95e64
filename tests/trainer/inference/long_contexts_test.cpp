// Windows that are longer than the segments they are computed in, or that overlap, in every form, on one rank and on
// several; and that the forms agree on many tokens in the precisions that runs have.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tests/support/backends.h"
#include "tests/support/ranks.h"
#include "tests/support/tiny_run.h"
#include "trainer/data/token_writer.h"
#include "trainer/inference/evaluate.h"
#include "trainer/model/mesh_model.h"

namespace retain::test {
namespace {

constexpr RetentionForm kForms[] = {RetentionForm::kParallel, RetentionForm::kChunkwise, RetentionForm::kRecurrent};

/// How a set is cut into windows, and these into segments.
struct Cut {
  int64_t context = 40;
  int64_t stride = 0;
  int64_t segment_tokens = 0;  ///< 0: the window's
  int64_t sequences = 2;
};

/// Evaluates random weights in float64 on the set `text`, whose documents end with its end token.
EvalResult evaluate_cut(Mesh& mesh, const std::string& text, const Cut& cut, RetentionForm form,
                        bool end_token_before_windows = false) {
  Config config = tiny_config("");
  config.model.group_norm_eps = GroupNormEps::kRowsum;  // which counts from where a document begins
  config.data.seq_len = cut.context;
  config.data.end_token_before_windows = end_token_before_windows;
  const MeshShape& shape = mesh.shape();
  const std::unique_ptr<Backend> backend = make_cpu_backend(1);
  const ParameterLayout layout(config.model, mesh.at().tp, shape.tp, 1);
  ParameterStore parameters(*backend, layout, DType::kFloat64, ReplicaShare(), Residency::kInference);
  parameters.initialize(5);
  const int64_t segment = cut.segment_tokens > 0 ? cut.segment_tokens : cut.context;
  const int64_t tokens = (segment + shape.cp - 1) / shape.cp, at_once = tokens * shape.cp;
  MeshModel on(*backend, mesh, parameters, config.model, DType::kFloat64,
               {.sequences = cut.sequences,
                .tokens = tokens,
                .parts = shape.cp,
                .segment_count = (cut.context + at_once - 1) / at_once},
               4, Residency::kInference);
  const EvalWindows windows(TokenSet(text), config.data, config.model.vocab_size, cut.sequences, shape, mesh.at(), 0,
                            std::nullopt, at_once, cut.stride);
  return evaluate(*backend, mesh, on.model(), windows, on.batch(), form);
}

class LongContexts : public ::testing::Test {
 protected:
  LongContexts() { write_tiny_text(directory_.path(), 1000); }
  EvalResult evaluate(const Cut& cut, RetentionForm form = RetentionForm::kChunkwise) {
    return evaluate_cut(*alone_, text(), cut, form);
  }
  std::string text() const { return directory_.path() + "/text"; }
  /// A set of some tokens of the text.
  std::string part(int64_t begin, int64_t count) const {
    const TokenSet all(text());
    std::vector<int32_t> tokens(static_cast<size_t>(count));
    all.read(begin, tokens);
    TokenWriter writer(directory_.path() + "/part", 257);
    writer.append(tokens);
    writer.end_document();
    writer.finish();
    return directory_.path() + "/part";
  }

  const TemporaryDirectory directory_;
  const std::unique_ptr<Mesh> alone_ = make_single_mesh();
};

void expect_same(const EvalResult& got, const EvalResult& want) {
  EXPECT_EQ(got.tokens, want.tokens);
  EXPECT_NEAR(got.loss, want.loss, 1e-10);
  ASSERT_EQ(got.loss_by_position.size(), want.loss_by_position.size());
  for (size_t i = 0; i < got.loss_by_position.size(); ++i) {
    if (std::isnan(want.loss_by_position[i])) continue;
    EXPECT_NEAR(got.loss_by_position[i], want.loss_by_position[i], 1e-10) << i;
  }
}

TEST_F(LongContexts, AWindowThatIsCarriedThroughSegmentsIsTheWholeWindow) {
  const EvalResult want = evaluate({.context = 512});
  EXPECT_EQ(want.loss_by_position.size(), 10U);  // … 256 to 511, sixteen times the training length
  for (const RetentionForm form : kForms) {
    for (const int64_t segment_tokens : {7, 64, 300})
      expect_same(evaluate({.context = 512, .segment_tokens = segment_tokens}, form), want);
  }
}

TEST_F(LongContexts, TakeTheMemoryOfTwoStatesWhateverTheirLength) {
  const auto bytes = [](int64_t parts, int64_t segments) {
    const BatchShape shape{.sequences = 1, .tokens = 16, .parts = parts, .segment_count = segments};
    return RetNet::memory_bytes(Dimensions(tiny_config("").model, shape, DType::kFloat32, 0, 1, 0, Device::kCpu),
                                Residency::kInference);
  };
  EXPECT_LT(bytes(1, 1), bytes(1, 3));
  EXPECT_EQ(bytes(1, 3), bytes(1, 100'000));
  EXPECT_EQ(bytes(2, 2), bytes(2, 100'000));
}

TEST_F(LongContexts, OverlappingWindowsCountEveryTargetOnceBehindTheWholeContext) {
  const EvalResult whole = evaluate({.context = 40});
  const int64_t all = TokenSet(text()).tokens() - 1;
  EXPECT_EQ(whole.tokens, all);
  for (const int64_t stride : {1, 13, 39, 40}) {
    const EvalResult strided = evaluate({.context = 40, .stride = stride});
    EXPECT_EQ(strided.tokens, all) << stride;
    expect_same(evaluate({.context = 40, .stride = stride, .segment_tokens = 16}, RetentionForm::kRecurrent), strided);
  }
  // Of windows that are one token apart, each target is the last: that of a set which ends there.
  const auto nats = [&](const std::string& set, const Cut& cut) {
    const EvalResult result = evaluate_cut(*alone_, set, cut, RetentionForm::kChunkwise);
    return result.loss * static_cast<double>(result.tokens);
  };
  const double two = nats(part(0, 43), {.context = 40, .stride = 1}),
               one = nats(part(0, 42), {.context = 40, .stride = 1});
  const double last = nats(part(2, 41), {.context = 40}) - nats(part(2, 40), {.context = 40});
  EXPECT_NEAR(two - one, last, 1e-9);
}

TEST_F(LongContexts, AnEndTokenBeforeWindowsStaysWhereTheyOverlap) {
  const EvalResult apart = evaluate_cut(*alone_, text(), {.context = 40}, RetentionForm::kChunkwise, true);
  const int64_t all = TokenSet(text()).tokens() - 1;
  EXPECT_LT(apart.tokens, all);  // a window's last target falls away …
  for (const int64_t stride : {1, 13, 20, 39}) {
    const EvalResult overlap =
        evaluate_cut(*alone_, text(), {.context = 40, .stride = stride}, RetentionForm::kChunkwise, true);
    EXPECT_GE(overlap.tokens, all - 1) << stride;  // … that the next one, which overlaps, has; but the set's last
    EXPECT_LE(overlap.tokens, all) << stride;
  }
}

TEST_F(LongContexts, EveryLayoutEvaluatesWhatOneRankDoes) {
  const Cut cuts[] = {{.context = 150, .segment_tokens = 36}, {.context = 90, .stride = 50, .segment_tokens = 36}, {}};
  for (const Cut& cut : cuts) {
    const EvalResult want = evaluate(cut);
    on_every_group([&](Communicator& group) {
      for (const MeshShape& shape : meshes_of(group.size())) {
        if (tiny_config("").model.heads % shape.tp != 0) continue;
        for (const RetentionForm form : kForms) {
          SCOPED_TRACE(concat(shape.describe(), " form ", static_cast<int>(form)));
          Mesh mesh(shape, group.split(0, group.rank()));
          expect_same(evaluate_cut(mesh, text(), cut, form), want);
        }
      }
    });
  }
}

/// In what runs are evaluated in: float32, and bfloat16 on a GPU.
class FormsOnManyTokens : public BackendTest {};

// A model that has learned something, 64k tokens, and heads that the fast kernels take.
TEST_P(FormsOnManyTokens, AgreeOnTheMeanLoss) {
  constexpr int64_t kTokens = 64 << 10, kWindow = 2048;
  const TemporaryDirectory directory;
  write_tiny_text(directory.path(), kTokens + 1);
  Config config = tiny_config(directory.path());
  config.model.heads = 2;
  config.schedule.warmup_steps = 5;
  config.optimizer.lr = 3e-3;
  config.data.reset_state_at_documents = false;  // of one context
  Target target{.device = GetParam().cuda ? DeviceKind::kCuda : DeviceKind::kCpu, .compute = compute()};
  const std::unique_ptr<Mesh> mesh = make_single_mesh();
  Trainer trainer(backend(), *mesh, config, target);
  const std::vector<double> losses = train_tiny(trainer, 30).losses;
  EXPECT_LT(losses.back(), losses.front() - 0.5);

  const auto loss = [&](int64_t context, RetentionForm form) {
    config.data.seq_len = context;
    const BatchShape shape{
        .sequences = std::min<int64_t>(4, kTokens / context), .tokens = kWindow, .segment_count = context / kWindow};
    MeshModel on(backend(), *mesh, trainer.parameters(), config.model, compute(), shape, 0, Residency::kInference);
    const EvalWindows windows(TokenSet(directory.path() + "/text"), config.data, config.model.vocab_size,
                              shape.sequences, mesh->shape(), mesh->at(), kTokens, std::nullopt, kWindow);
    const EvalResult result = evaluate(backend(), *mesh, on.model(), windows, on.batch(), form);
    EXPECT_EQ(result.tokens, kTokens);
    return result.loss;
  };
  const double tolerance = GetParam().tolerance;
  const double windows = loss(kWindow, RetentionForm::kChunkwise);
  EXPECT_NEAR(loss(kWindow, RetentionForm::kParallel), windows, tolerance);
  EXPECT_NEAR(loss(kWindow, RetentionForm::kRecurrent), windows, tolerance);
  const double one = loss(kTokens, RetentionForm::kChunkwise);
  EXPECT_NEAR(loss(kTokens, RetentionForm::kRecurrent), one, tolerance);
  EXPECT_NEAR(one, windows, 0.05);
}

INSTANTIATE_TEST_SUITE_P(Backends, FormsOnManyTokens,
                         testing::Values(BackendCase{"cpu_float32", false, DType::kFloat32, 1e-4},
                                         BackendCase{"cuda_float32", true, DType::kFloat32, 1e-4},
                                         BackendCase{"cuda_bfloat16", true, DType::kBfloat16, 2e-3}),
                         backend_case_name);

}  // namespace
}  // namespace retain::test
