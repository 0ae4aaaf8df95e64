// The whole model: every gradient against differences, the forms of retention against each other, decoding against
// reading.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>

#include "kernels/core/random.h"
#include "tests/support/tiny_run.h"
#include "tests/support/wrapped_backend.h"
#include "trainer/inference/decoder.h"
#include "trainer/model/one_rank_model.h"

namespace retain::test {
namespace {

struct Variant {
  std::string name;
  ModelConfig model;
  bool documents = true;
};

ModelConfig tiny_model() {
  ModelConfig model;
  model.layers = 2;
  model.hidden_size = 12;
  model.heads = 2;
  model.ffn_size = 10;
  model.vocab_size = 19;
  model.init_std = 0.4;
  model.norm_eps = 1e-3;
  return model;
}

std::vector<Variant> variants() {
  std::vector<Variant> all;
  all.push_back({"fla", tiny_model()});
  Variant torchscale{"torchscale", tiny_model()};
  torchscale.model.rotary = Rotary::kTorchscale;
  torchscale.model.group_norm_eps = GroupNormEps::kRowsum;
  torchscale.model.group_norm_affine = false;
  torchscale.model.ffn = FfnKind::kGeglu;
  torchscale.model.embedding_scale = std::sqrt(12.0);
  torchscale.model.embedding_norm = true;
  all.push_back(torchscale);
  Variant paper{"paper", tiny_model(), false};
  paper.model.ffn = FfnKind::kGelu;
  paper.model.decay = Decay::kPaperExp;
  paper.model.tie_embeddings = true;
  paper.model.value_expansion = 1.5;
  all.push_back(paper);
  Variant scaled{"scaled", tiny_model()};
  scaled.model.head_norm_eps = 0.1;
  scaled.model.base_width = 3;
  scaled.model.init_std = 0.8;
  scaled.model.init = Init::kDepthScaled;
  all.push_back(scaled);
  return all;
}

// One model in float64 on one rank with a batch in its memory.
class Fixture {
 public:
  Fixture(const Variant& variant, int64_t chunk, Residency residency = Residency::kTraining)
      : backend_(make_cpu_backend(1)),
        layout_(variant.model, 0, 1, 1),
        parameters_(*backend_, layout_, DType::kFloat64, ReplicaShare(layout_.buckets), residency),
        alone_(*backend_, parameters_, variant.model, DType::kFloat64, {.sequences = 2, .tokens = 13}, chunk,
               residency) {
    parameters_.initialize(3);
    // Norm weights away from one, so that a forgotten factor shows.
    for (const ParameterSpec& spec : layout_.parameters) {
      if (spec.rank != 1) continue;
      std::vector<double> values(spec.rows);
      for (int64_t i = 0; i < spec.rows; ++i) values[i] = 1 + 0.2 * philox_normal(stream_key(5, spec.name), i);
      parameters_.set_weight(spec, values);
    }
    HostBatch host{.sequences = 2,
                   .tokens = 13,
                   .position_offset = 0,
                   .token_ids = {},
                   .targets = {},
                   .document_start = {},
                   .token_order = {},
                   .carry = {0, 0},
                   .valid_targets = 0};
    for (int64_t i = 0; i < 26; ++i) {
      host.token_ids.push_back(static_cast<int32_t>(philox_bits(8, i) % 19));
      host.targets.push_back(i % 7 == 3 ? -1 : static_cast<int32_t>(philox_bits(9, i) % 19));
      const auto t = static_cast<int32_t>(i % 13);
      host.document_start.push_back(!variant.documents ? 0 : t >= 9 ? 9 : t >= 5 ? 5 : 0);
    }
    host.token_order.resize(26);
    std::iota(host.token_order.begin(), host.token_order.end(), 0);
    std::stable_sort(host.token_order.begin(), host.token_order.end(),
                     [&](int32_t a, int32_t b) { return host.token_ids[a] < host.token_ids[b]; });
    tokens_ = host.token_ids;
    batch_ = upload_batch(*backend_, host, alone_.batch());
  }

  /// Weighted sum of the tokens' losses, so that each counts differently from the mean.
  double loss(RetentionForm form = RetentionForm::kChunkwise) {
    alone_.model().forward(batch_, form);
    return total(alone_.model().loss(batch_));
  }
  double loss_and_backward(GradientWrite gradients = GradientWrite::kReplace,
                           const std::function<void(int64_t flat_end)>& completed = {}) {
    alone_.model().forward(batch_, RetentionForm::kChunkwise);
    return total(alone_.model().loss_and_backward(batch_, {}, gradients, RetentionForm::kChunkwise, completed));
  }
  std::vector<double> logits(int64_t rows) {
    const TensorView z = alone_.model().logits(batch_, 0, rows);
    std::vector<double> values;
    for (int64_t r = 0; r < rows; ++r) {
      const double* row = z.as<double>() + r * z.stride[0];
      values.insert(values.end(), row, row + 19);
    }
    return values;
  }

  Backend& backend() { return *backend_; }
  ParameterStore& parameters() { return parameters_; }
  const std::vector<int32_t>& tokens() const { return tokens_; }

 private:
  double total(const TensorView& loss) {
    double sum = 0;
    for (int64_t i = 0; i < loss.elements(); ++i) sum += loss.as<double>()[i];
    return sum;
  }

  std::unique_ptr<Backend> backend_;
  ParameterLayout layout_;
  ParameterStore parameters_;
  OneRankModel alone_;
  DeviceBatch batch_;
  std::vector<int32_t> tokens_;
};

class Model : public ::testing::TestWithParam<Variant> {};

// Buckets are reduced as soon as backward reports them.
TEST_P(Model, EveryGradientBeforeAReportedPlaceHasItsLastTerm) {
  Fixture fixture(GetParam(), 5);
  const ParameterLayout& layout = fixture.parameters().layout();
  const TensorView flat = fixture.parameters().flat_gradients();
  for (const GradientWrite write : {GradientWrite::kReplace, GradientWrite::kAdd}) {
    if (write == GradientWrite::kReplace) fixture.backend().fill(flat, std::numeric_limits<double>::quiet_NaN());
    std::vector<std::vector<double>> reported;
    fixture.loss_and_backward(write, [&](int64_t flat_end) {
      EXPECT_TRUE(reported.empty() || std::ssize(reported.back()) <= flat_end);
      reported.emplace_back(flat.as<double>(), flat.as<double>() + flat_end);
    });
    ASSERT_EQ(std::ssize(reported), GetParam().model.layers + 2);
    ASSERT_EQ(std::ssize(reported.back()), layout.flat_elements);
    for (size_t part = 1; part < reported.size(); ++part) {
      EXPECT_GT(reported[part].size(), reported[part - 1].size()) << "nothing is completed with part " << part;
    }
    for (const ParameterSpec& spec : layout.parameters) {
      const double* last = flat.as<double>() + spec.flat_offset;
      for (const std::vector<double>& then : reported) {
        if (std::ssize(then) < spec.flat_offset + spec.elements()) continue;
        EXPECT_TRUE(std::equal(last, last + spec.elements(), then.begin() + spec.flat_offset))
            << spec.name << " was reported with " << then.size() << " gradients and changed, or was not written";
      }
    }
  }
}

TEST_P(Model, EveryGradientMatchesDifferences) {
  Fixture fixture(GetParam(), 5);
  fixture.loss_and_backward();
  ParameterStore& parameters = fixture.parameters();
  for (const ParameterSpec& spec : parameters.layout().parameters) {
    const int64_t count = spec.real_rows * spec.columns;
    double* weight = parameters.flat_weights().as<double>() + spec.flat_offset;
    const double* gradient = parameters.flat_gradients().as<double>() + spec.flat_offset;
    const std::vector<double> at(weight, weight + count);
    std::vector<double> direction(count);
    double want = 0;
    for (int64_t i = 0; i < count; ++i) {
      direction[i] = philox_normal(stream_key(11, spec.name), i);
      want += gradient[i] * direction[i];
    }
    // Central differences of fourth order along a random direction.
    const double step = 2e-5;
    double difference = 0;
    for (const auto& [shift, factor] : {std::pair{-2, 1.0}, {-1, -8.0}, {1, 8.0}, {2, -1.0}}) {
      for (int64_t i = 0; i < count; ++i) weight[i] = at[i] + shift * step * direction[i];
      difference += factor * fixture.loss() / (12 * step);
    }
    std::copy(at.begin(), at.end(), weight);
    EXPECT_NEAR(difference, want, 1e-6 * std::max(1.0, std::abs(want))) << spec.name;
    EXPECT_GT(std::abs(want), 1e-8) << spec.name << " has no gradient: the comparison would be empty";
  }
}

TEST_P(Model, GradientsReplaceWhatIsThereOrAddToIt) {
  Fixture fixture(GetParam(), 5);
  const TensorView flat = fixture.parameters().flat_gradients();
  fixture.loss_and_backward();
  const std::vector<double> once(flat.as<double>(), flat.as<double>() + flat.elements());

  fixture.loss_and_backward(GradientWrite::kAdd);
  for (int64_t i = 0; i < flat.elements(); ++i) {
    ASSERT_NEAR(flat.as<double>()[i], 2 * once[i], 1e-12 * std::max(1.0, std::abs(once[i]))) << i;
  }
  for (const ParameterSpec& spec : fixture.parameters().layout().parameters) {
    fixture.backend().fill(fixture.parameters().gradient(spec.name), std::numeric_limits<double>::quiet_NaN());
  }
  fixture.loss_and_backward();
  const std::vector<double> again(flat.as<double>(), flat.as<double>() + flat.elements());
  EXPECT_EQ(again, once) << "the same run must give the same bits";
}

TEST_P(Model, TheThreeFormsAgree) {
  Fixture fixture(GetParam(), 4);
  const double chunkwise = fixture.loss(RetentionForm::kChunkwise);
  EXPECT_NEAR(fixture.loss(RetentionForm::kParallel), chunkwise, 1e-10);
  EXPECT_NEAR(fixture.loss(RetentionForm::kRecurrent), chunkwise, 1e-10);
}

TEST_P(Model, TheLossDoesNotDependOnTheChunk) {
  const double want = Fixture(GetParam(), 13).loss();
  for (const int64_t chunk : {1, 2, 5, 64}) EXPECT_NEAR(Fixture(GetParam(), chunk).loss(), want, 1e-10) << chunk;
}

TEST_P(Model, DecodingGivesTheLogitsOfReading) {
  Variant variant = GetParam();
  variant.documents = false;
  Fixture fixture(variant, 4, Residency::kInference);
  fixture.loss(RetentionForm::kParallel);
  const std::vector<double> read = fixture.logits(13);
  Decoder decoder(fixture.backend(), fixture.parameters(), variant.model, DType::kFloat64, 1);
  for (int64_t t = 0; t < 13; ++t) {
    const std::vector<float> decoded = decoder.feed(0, std::span(fixture.tokens()).subspan(t, 1));
    for (int64_t j = 0; j < 19; ++j) EXPECT_NEAR(decoded[j], read[t * 19 + j], 2e-6) << "token " << t;
  }
}

INSTANTIATE_TEST_SUITE_P(Variants, Model, ::testing::ValuesIn(variants()),
                         [](const auto& param) { return param.param.name; });

// auto is norm_eps to the last bit; another one is that of the heads' norm and of no other.
TEST(HeadNormEps, IsTheEpsilonOfTheHeadsNormAlone) {
  struct Epsilons : WrappedBackend {
    std::vector<double> heads, streams;
    Epsilons() : WrappedBackend(make_cpu_backend(1)) {}
    void do_head_norm_gate(const HeadNormGateArgs& args) override {
      heads.push_back(args.eps);
      WrappedBackend::do_head_norm_gate(args);
    }
    void do_rms_norm(const RmsNormArgs& args) override {
      streams.push_back(args.eps);
      WrappedBackend::do_rms_norm(args);
    }
  };
  const auto train = [](double head_norm_eps, Epsilons& backend) {
    const TemporaryDirectory directory;
    write_tiny_text(directory.path());
    Config config = tiny_config(directory.path());
    config.model.norm_eps = 1e-3;
    config.model.head_norm_eps = head_norm_eps;
    config.model.embedding_norm = true;
    const auto mesh = make_single_mesh();
    Trainer trainer(backend, *mesh, config, {.device = DeviceKind::kCpu, .compute = DType::kFloat64, .threads = 1});
    return train_tiny(trainer, 1).losses[0];
  };
  Epsilons automatic, same, other;
  const double loss = train(0, automatic);
  EXPECT_EQ(train(1e-3, same), loss);
  EXPECT_NE(train(1e-1, other), loss);
  EXPECT_EQ(automatic.heads, std::vector<double>(automatic.heads.size(), 1e-3));
  EXPECT_EQ(other.heads, std::vector<double>(automatic.heads.size(), 1e-1));
  EXPECT_EQ(other.streams, std::vector<double>(automatic.streams.size(), 1e-3));
  EXPECT_GT(automatic.streams.size(), automatic.heads.size());
}

TEST(Parameters, CountsThoseOfPublishedModels) {
  ModelConfig fla;  // the defaults are fla's shape
  fla.vocab_size = 32000;
  EXPECT_EQ(count_parameters(fla).all, 1351727104);  // fla-hub/retnet-1.3B-100B
  ModelConfig paper;
  paper.ffn = FfnKind::kGelu;
  paper.ffn_size = 4096;
  paper.vocab_size = 50257;
  paper.tie_embeddings = true;
  paper.group_norm_affine = false;
  EXPECT_EQ(count_parameters(paper).all, 1310986240);  // Table 2 of arXiv 2307.08621, counted by its shapes
  fla.vocab_size = 50304;
  EXPECT_NEAR(flops_per_token(fla) / 1e9, 6 * 1.2858 + 0.302, 0.5);
}

}  // namespace
}  // namespace retain::test
