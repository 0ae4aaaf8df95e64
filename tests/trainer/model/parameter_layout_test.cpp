// What layers declare is what they look up, and it lies where checkpoints and resumed runs expect it.
#include "trainer/model/parameter_layout.h"

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "trainer/model/declarations.h"

namespace retain::test {
namespace {

std::string describe(const ModelConfig& model) {
  const ParameterLayout layout(model, 1, 2, 3, 2000);
  std::ostringstream text;
  for (const ParameterSpec& p : layout.parameters) {
    text << p.name << " at " << p.flat_offset << ": [" << p.rows << ", " << p.columns << "] (" << p.real_rows
         << " real) from row " << p.first_row << ", column " << p.first_column << " of [" << p.global_rows << ", "
         << p.global_columns << "], rank " << p.rank << ", std " << p.scaling.init_std << "\n";
  }
  text << "matrices from " << layout.matrices.begin << ", norms from " << layout.norms.begin << ", group norms from "
       << layout.group_norms.begin << " to " << layout.flat_elements << "\nbuckets to";
  for (const Range& bucket : layout.buckets) text << " " << bucket.end;
  text << ", " << layout.passing_buckets << " passing\n";
  const ParameterCounts counts = count_parameters(model);
  text << counts.all << " parameters, " << counts.matmul << " in products, " << flops_per_token(model)
       << " FLOPs a token\n";
  return text.str();
}

std::string described_variants() {
  ModelConfig plain;
  plain.layers = 2;
  plain.hidden_size = 24;
  plain.heads = 2;
  plain.ffn_size = 20;
  plain.vocab_size = 37;
  ModelConfig torchscale = plain;
  torchscale.ffn = FfnKind::kGeglu;
  torchscale.embedding_norm = true;
  torchscale.group_norm_affine = false;
  ModelConfig paper = plain;
  paper.ffn = FfnKind::kGelu;
  paper.tie_embeddings = true;
  paper.value_expansion = 1.5;
  paper.init_std = 0.1;
  return describe(plain) + "\n" + describe(torchscale) + "\n" + describe(paper);
}

TEST(ParameterLayout, PutsEveryParameterWhereItsBucketHasIt) {
  std::ifstream file(RETAIN_SOURCE_DIR "/tests/trainer/model/parameter_layout.golden");
  std::ostringstream want;
  want << file.rdbuf();
  EXPECT_EQ(described_variants(), want.str());
}

// Of any model: sizes that nothing divides, tied or not.
void check_buckets(const ModelConfig& model, int tp, int replicas) {
  const ParameterLayout layout(model, 0, tp, replicas, 1000);
  int64_t end = 0;
  for (const Range& bucket : layout.buckets) {
    ASSERT_EQ(bucket.begin, end);
    ASSERT_GT(bucket.size(), 0);
    ASSERT_EQ(bucket.size() % (int64_t{64} * replicas), 0) << "shares are equal and aligned";
    end = bucket.end;
  }
  ASSERT_EQ(end, layout.flat_elements);
  ASSERT_EQ(layout.buckets.back(), (Range{layout.norms.begin, layout.flat_elements}));
  ASSERT_EQ(layout.matrices, (Range{0, layout.norms.begin}));

  std::vector<int> holders(static_cast<size_t>(layout.flat_elements));
  for (const ParameterSpec& spec : layout.parameters) {
    const Range range{spec.flat_offset, spec.flat_offset + spec.elements()};
    for (int64_t i = range.begin; i < range.end; ++i) ASSERT_EQ(++holders[static_cast<size_t>(i)], 1) << spec.name;
    int buckets = 0;
    for (const Range& bucket : layout.buckets) buckets += common(range, bucket).size() > 0 ? 1 : 0;
    ASSERT_EQ(buckets, 1) << spec.name;
  }
  // Head, blocks from the last to the first, embedding; a tied head has nothing of its own.
  ASSERT_EQ(std::ssize(layout.parts), model.layers + 2);
  for (size_t part = 1; part < layout.parts.size(); ++part)
    ASSERT_GE(layout.parts[part - 1].begin, layout.parts[part].end);
  EXPECT_EQ(layout.parts.back().size() == 0, model.tie_embeddings);
  EXPECT_EQ(layout.find("embeddings.weight").flat_offset, layout.parts.front().begin);
  if (replicas == 1) return;
  EXPECT_GE(layout.buckets.size(), 3U) << "there is something to overlap";
  const size_t written_everywhere = model.tie_embeddings ? 2 : 1;  // the tied matrix, the norms
  EXPECT_EQ(layout.passing_buckets, layout.buckets.size() - written_everywhere);
  if (model.tie_embeddings) {
    EXPECT_EQ(layout.buckets[layout.passing_buckets].begin, layout.parts.front().begin) << "nothing but the matrix";
  }
}

TEST(ParameterLayout, CutsAnyModelIntoBucketsOfWholeParts) {
  for (const int64_t layers : {1, 2, 5}) {
    for (const bool tied : {false, true}) {
      for (const int tp : {1, 2}) {
        for (const int replicas : {1, 2, 3, 7}) {
          ModelConfig model;
          model.layers = layers;
          model.hidden_size = 24;
          model.heads = 2;
          model.ffn_size = 22;
          model.vocab_size = 37;
          model.tie_embeddings = tied;
          SCOPED_TRACE(::testing::Message()
                       << layers << " layers, tied " << tied << ", tp " << tp << ", " << replicas << " replicas");
          check_buckets(model, tp, replicas);
        }
      }
    }
  }
}

TEST(ParameterLayout, ALargeModelHasABucketALayer) {
  ModelConfig model;
  model.layers = 24;
  model.hidden_size = 2048;
  model.heads = 8;
  model.ffn_size = 2816;
  model.vocab_size = 50304;
  EXPECT_EQ(ParameterLayout(model, 0, 1, 2).buckets.size(), 24U + 3) << "head, layers, embedding, norms";
  EXPECT_EQ(ParameterLayout(model, 0, 1, 1).buckets.size(), 2U) << "one replica exchanges nothing";
  model.layers = 2;
  model.hidden_size = 64;
  model.ffn_size = 96;
  model.vocab_size = 257;
  EXPECT_EQ(ParameterLayout(model, 0, 1, 2).buckets.size(), 2U) << "a small model has little to hide";
}

struct Views {
  Parameter table, fused, norm, group_norm, head;
};

Views declare(const Declarations& declarations) {
  const Declarations inner = declarations.within("layer.");
  return {.table = declarations.matrix("table", TpCut::kVocabulary, 19, 8, {.init_std = 0.1}, ParameterUse::kLookUp),
          .fused = inner.adjacent_matrices({{"q", 3, {.init_std = 0.1}}, {"k", 5, {.init_std = 0.1}}}, 8),
          .norm = inner.norm("norm", 8),
          .group_norm = inner.norm("group_norm", 4, ParameterUse::kGroupNorm),
          .head = declarations.product_with("table")};
}

TEST(Declarations, GiveTheViewsOfWhatWasDeclared) {
  DeclaredModel declared;
  EXPECT_FALSE(declare(Declarations(declared)).fused.weight) << "there is no store yet";
  const ParameterLayout layout(declared, 0, 1, 1);
  const auto backend = make_cpu_backend(1);
  const ParameterStore store(*backend, layout, DType::kFloat32, ReplicaShare(layout.buckets), Residency::kTraining);
  DeclaredModel again;
  const Views views = declare(Declarations(again, store, Residency::kTraining));

  const auto expect = [&](const Parameter& got, const char* name, std::initializer_list<int64_t> shape) {
    const int64_t offset = layout.find(name).flat_offset;
    EXPECT_EQ(got.weight.as<float>(), store.flat_weights().as<float>() + offset) << name;
    EXPECT_EQ(got.gradient.as<float>(), store.flat_gradients().as<float>() + offset) << name;
    EXPECT_TRUE(got.weight.has_shape(shape) && got.gradient.has_shape(shape)) << name << got.weight.describe();
  };
  expect(views.table, "table", {24, 8});
  expect(views.head, "table", {24, 8});
  expect(views.fused, "layer.q", {8, 8});
  expect(views.norm, "layer.norm", {8});
  expect(views.group_norm, "layer.group_norm", {4});
  EXPECT_EQ(layout.parameters.size(), 5U);
  EXPECT_EQ(declared.parameters.front().use, ParameterUse::kProduct) << "the head multiplies by the table";
}

TEST(Declarations, GiveNoGradientsAtInference) {
  DeclaredModel declared;
  declare(Declarations(declared));
  const ParameterLayout layout(declared, 0, 1, 1);
  const auto backend = make_cpu_backend(1);
  const ParameterStore store(*backend, layout, DType::kFloat32, ReplicaShare(layout.buckets), Residency::kInference);
  const Views views = declare(Declarations(declared, store, Residency::kInference));
  EXPECT_TRUE(views.fused.weight && views.norm.weight);
  EXPECT_FALSE(views.fused.gradient || views.norm.gradient);
}

TEST(Declarations, RefuseTheMatrixOfALayerThatThereIsNot) {
  DeclaredModel declared;
  EXPECT_THROW(Declarations(declared).product_with("table"), Error);
}

}  // namespace
}  // namespace retain::test
