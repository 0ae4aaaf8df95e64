// The contracts: each kind of mistake is refused, in words that say got and want.
#include <gmock/gmock.h>

#include <functional>

#include "tests/support/backends.h"

namespace retain::test {
namespace {

using testing::HasSubstr;

std::string refusal(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kInternal);
    return error.what();
  }
  return "accepted";
}

/// Views of memory that is never touched.
class Contracts : public testing::Test {
 protected:
  TensorView view(std::initializer_list<int64_t> shape, DType dtype = DType::kFloat32) {
    return {memory_ + 4096 * next_++, dtype, shape};
  }

 private:
  char* memory_ = reinterpret_cast<char*>(0x100000);
  int next_ = 0;
};

TEST_F(Contracts, AShapeThatDoesNotFitSaysGotAndWant) {
  const MatmulArgs args{.a = view({2, 3}), .b = view({4, 5}), .c = view({2, 5})};
  const std::string message = refusal([&] { check(args); });
  EXPECT_THAT(message, HasSubstr("matmul"));
  EXPECT_THAT(message, HasSubstr("b is float32[4,5], want float32[3,5]"));
}

TEST_F(Contracts, TransposesCountInTheShapes) {
  MatmulArgs args{.a = view({3, 2}), .b = view({5, 3}), .c = view({2, 5}), .transpose_a = true, .transpose_b = true};
  EXPECT_NO_THROW(check(args));
  args.transpose_b = false;
  EXPECT_THAT(refusal([&] { check(args); }), HasSubstr("want float32[3,5]"));
}

TEST_F(Contracts, MixedTypesAreRefused) {
  const MatmulArgs args{.a = view({2, 3}), .b = view({3, 5}, DType::kBfloat16), .c = view({2, 5})};
  EXPECT_THAT(refusal([&] { check(args); }), HasSubstr("b is bfloat16[3,5], want float32[3,5]"));
}

TEST_F(Contracts, GradientsOfBfloat16AreFloat32) {
  MatmulArgs args{.a = view({2, 3}, DType::kBfloat16), .b = view({3, 5}, DType::kBfloat16), .c = view({2, 5})};
  EXPECT_NO_THROW(check(args));
  args.c.dtype = DType::kFloat64;
  EXPECT_THAT(refusal([&] { check(args); }), HasSubstr("c is float64[2,5], want float32[2,5]"));
}

TEST_F(Contracts, AMissingArgumentIsNamed) {
  const RmsNormArgs args{.x = view({4, 8}), .y = view({4, 8}), .rstd = view({4})};
  EXPECT_THAT(refusal([&] { check(args); }), HasSubstr("rms_norm: weight is absent, want float32[8]"));
}

TEST_F(Contracts, ColumnsOfAWiderMatrixAreFineButTransposedViewsAreNot) {
  TensorView wide = view({4, 20});
  RmsNormArgs args{.x = wide.slice(1, 3, 8), .weight = view({8}), .y = view({4, 8}), .rstd = view({4})};
  EXPECT_NO_THROW(check(args));
  args.x.stride = {1, 4};
  EXPECT_THAT(refusal([&] { check(args); }), HasSubstr("has stride 4 in its last dim, want 1"));
}

TEST_F(Contracts, SumMayBeXButYMayNot) {
  RmsNormArgs args{
      .x = view({4, 8}), .residual = view({4, 8}), .weight = view({8}), .y = view({4, 8}), .rstd = view({4})};
  EXPECT_THAT(refusal([&] { check(args); }), HasSubstr("sum is absent, want it given like residual"));
  args.sum = args.x;
  EXPECT_NO_THROW(check(args));
  args.y = args.x;
  EXPECT_THAT(refusal([&] { check(args); }), HasSubstr("y and x share memory"));
}

TEST_F(Contracts, AliasesMustBeTheSameElements) {
  const TensorView matrix = view({2, 5, 24});
  RotateArgs args{.x = matrix.slice(2, 0, 12).split(2, 3, 4), .table = view({5, 2, 2})};
  args.y = args.x;
  EXPECT_NO_THROW(check(args));
  args.y = TensorView(args.x.data, DType::kFloat32, {2, 5, 3, 4});
  EXPECT_THAT(refusal([&] { check(args); }), HasSubstr("laid out otherwise"));
}

TEST_F(Contracts, FoldingNeedsDecaysAndASign) {
  RotateArgs args{.x = view({2, 5, 3, 4}), .y = view({2, 5, 3, 4}), .table = view({5, 2, 2}), .fold_chunk = 64};
  EXPECT_THAT(refusal([&] { check(args); }), HasSubstr("log2_gamma is absent, want float64[3]"));
  args.log2_gamma = view({3}, DType::kFloat64);
  EXPECT_THAT(refusal([&] { check(args); }), HasSubstr("fold_sign is 0"));
}

TEST_F(Contracts, RetentionChecksStatesAndChunks) {
  RetentionArgs args{.context = {.log2_gamma = view({3}, DType::kFloat64), .chunk = 4},
                     .q = view({2, 10, 3, 4}),
                     .k = view({2, 10, 3, 4}),
                     .v = view({2, 10, 3, 6}),
                     .o = view({2, 10, 3, 6}),
                     .state_out = view({2, 3, 4, 6}),
                     .states = view({2, 3, 3, 4, 6})};
  EXPECT_NO_THROW(check(args));
  args.context.chunk = 2;
  EXPECT_THAT(refusal([&] { check(args); }), HasSubstr("states is float32[2,3,3,4,6], want float32[2,5,3,4,6]"));
  args.context.chunk = 0;
  EXPECT_THAT(refusal([&] { check(args); }), HasSubstr("chunk is 0, want at least 1"));
  args.context.form = RetentionForm::kRecurrent;
  EXPECT_THAT(refusal([&] { check(args); }), HasSubstr("want that with the chunkwise form only"));
  args.states = {};
  EXPECT_NO_THROW(check(args));
  args.context.document_start = view({2, 9}, DType::kInt32);
  EXPECT_THAT(refusal([&] { check(args); }), HasSubstr("document_start is int32[2,9], want int32[2,10]"));
}

TEST_F(Contracts, StatesThatAreThereHaveTheShapeOfTheirChunks) {
  const RetentionContext context{.log2_gamma = view({3}, DType::kFloat64), .chunk = 4};
  const TensorView state = view({2, 3, 4, 6}), states = view({2, 3, 3, 4, 6});
  RetentionAddStateArgs args{.context = context, .state = state, .states = states, .tokens = 10};
  EXPECT_NO_THROW(check(args));
  args.tokens = 13;
  EXPECT_THAT(refusal([&] { check(args); }), HasSubstr("states is float32[2,3,3,4,6], want float32[2,4,3,4,6]"));
  RetentionStateArgs forward{.context = context, .k = view({2, 10, 3, 4}), .v = view({2, 10, 3, 6})};
  EXPECT_THAT(refusal([&] { check(forward); }), HasSubstr("state and states are absent"));
  forward.states = states;
  EXPECT_NO_THROW(check(forward));
  RetentionArgs outputs{.context = context,
                        .q = view({2, 10, 3, 4}),
                        .k = forward.k,
                        .v = forward.v,
                        .o = view({2, 10, 3, 6}),
                        .states_given = true};
  EXPECT_THAT(refusal([&] { check(outputs); }), HasSubstr("states absent"));
  outputs.states = states;
  EXPECT_NO_THROW(check(outputs));
  outputs.state_out = state;
  EXPECT_THAT(refusal([&] { check(outputs); }), HasSubstr("want the states and no state_out"));
}

TEST_F(Contracts, TheWholeVocabularyIsNeededWithoutOtherRanks) {
  CrossEntropyArgs args{
      .logits = view({4, 16}), .targets = view({4}, DType::kInt32), .loss = view({4}), .first_column = 16, .valid = 16};
  EXPECT_THAT(refusal([&] { check(args); }), HasSubstr("want the whole vocabulary when gathered is absent"));
  args.gathered = view({2, 4, 3});
  EXPECT_NO_THROW(check(args));
  args.valid = 17;
  EXPECT_THAT(refusal([&] { check(args); }), HasSubstr("valid is 17, want 0 to 16"));
}

TEST_F(Contracts, AGeluHasNoSecondOperand) {
  FfnActivationArgs args{.kind = FfnKind::kGelu, .a = view({4, 8}), .b = view({4, 8}), .h = view({4, 8})};
  EXPECT_THAT(refusal([&] { check(args); }), HasSubstr("b is given, want it absent"));
  args.kind = FfnKind::kSwiglu;
  EXPECT_NO_THROW(check(args));
}

TEST(CpuBackend, DoesNotComputeInBfloat16AndSaysSo) {
  const auto backend = make_cpu_backend(1);
  const DeviceTensor x(*backend, DType::kBfloat16, {1, 4});
  const DeviceTensor h(*backend, DType::kBfloat16, {1, 4});
  EXPECT_THAT(refusal([&] { backend->ffn_activation({.kind = FfnKind::kGelu, .a = x, .h = h}); }),
              HasSubstr("computes in float32 or float64, got bfloat16"));
}

}  // namespace
}  // namespace retain::test
